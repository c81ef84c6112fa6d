"""Ablations differ in what they name, share what does not differ, go on after a kill; claim 18 is judged right."""

import dataclasses
import itertools
import shutil

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from calm.models.transformer import DualAxisTransformer
from calm.paper.claims.ablations import ablated, ablation_effects, by_training
from calm.paper.claims.comparisons import FAILS, HOLDS, HOLDS_FOR_SESSIONS, UNTESTED
from calm.paper.claims.table import CLAIMS
from calm.paper.claims.table import judge as judge_claims
from calm.paper.experiments.ablations import (
    BASELINE,
    NO_REPLACEMENT,
    NO_SAMPLING,
    RECONSTRUCTION,
    ROLLOUTS,
    TABLES,
    VARIANTS,
    ablate,
    choose_sessions,
    run_ablations,
    summarise_variants,
)
from calm.paper.plots.ablations import variant_panels
from calm.paper.report.comparison import compare
from calm.paper.results import Results, read_published, summarise
from calm.profile import load_profile, profile_names
from calm.recordings import load_recordings
from calm.training import fit as training

matplotlib.use("Agg")


def flat(profile):
    return pd.json_normalize(profile.model_dump()).iloc[0].to_dict()


@pytest.mark.parametrize(
    ("variant", "off"),
    [
        (BASELINE, set()),
        ("without AR loss", {"quantizer.weight_ar", "quantizer.weight_align"}),
        ("without Gumbel", {"quantizer.weight_entropy"}),
        ("without orthogonality", {"quantizer.weight_orthogonality"}),
        (NO_SAMPLING, {"dat.scheduled_sampling", "dat.weight_sampling"}),
        (NO_REPLACEMENT, {"dat.replacement", "dat.weight_replacement"}),
        (
            "without both",
            {"dat.scheduled_sampling", "dat.weight_sampling", "dat.replacement", "dat.weight_replacement"},
        ),
    ],
)
@pytest.mark.parametrize("name", ["quick", "paper"])
def test_a_variant_differs_from_the_profile_in_what_it_names_and_in_its_budget(name, variant, off):
    profile = load_profile(name)
    before, after = flat(profile), flat(ablate(profile, variant))
    budget = {f"{fit}.{what}" for fit in ("quantizer_fit", "dat_fit") for what in ("steps", "rows")}
    assert {key for key in after if after[key] != before[key]} - budget == off
    assert all(after[key] == 0 for key in off)
    assert after["quantizer_fit.steps"] == profile.ablation.quantizer_steps
    assert after["dat_fit.steps"] == profile.ablation.dat_steps
    assert after["dat_fit.rows"] == profile.ablation.rows_share * before["dat_fit.rows"]
    assert after["quantizer_fit.rows"] == profile.ablation.rows_share * before["quantizer_fit.rows"]


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_trains_quantizers_beyond_the_warm_up_in_which_nothing_is_ablated(name):
    profile = load_profile(name)
    steps = profile.ablation.quantizer_steps
    assert steps > 2 * round(profile.quantizer.warmup * steps) > 0


@pytest.mark.parametrize("corruption", ["input", "losses"])
def test_without_both_strategies_only_the_clean_loss_is_trained(dat_config, quantizer, batch, corruption):
    off = VARIANTS["without both"]["dat"]
    config = dat_config.changed(corruption=corruption, **off)
    model = DualAxisTransformer(config, quantizer.codebook.vectors.detach(), {"uneven": 5}).eval()
    clean = model.next_token_loss(batch, batch.tokens)
    assert model.training_loss(batch)["loss"].item() == pytest.approx(clean.item(), rel=1e-6)


def test_sessions_are_chosen_at_random_in_order_and_never_more_than_there_are(make_session):
    sessions = [make_session([4], name=f"s{number:02}") for number in range(20)]
    chosen = [[each.name for each in choose_sessions(sessions, 5, seed)] for seed in range(10)]
    assert len({tuple(names) for names in chosen}) == 10
    assert all(len(set(names)) == 5 and names == sorted(names) for names in chosen)
    assert choose_sessions(sessions, 5, 3) == choose_sessions(sessions, 5, 3)
    assert choose_sessions(sessions[:3], 12, 0) == sessions[:3]


@pytest.fixture(scope="module")
def recordings():
    """Two small networks, and trainings with a single seed."""
    smoke = load_profile("smoke")
    single = smoke.changed(ablation=smoke.ablation.changed(seeds=(5,)))
    return load_recordings("simulation", single, seed=0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def run_all(recordings, runs):
    """The rows of both tables, and the stages."""
    results = Results(recordings.name, seed=0)
    stages = run_ablations(results, recordings, seed=0, runs=runs)
    return pd.concat([results.table(item) for item in TABLES], ignore_index=True), stages


@pytest.fixture(scope="module")
def ran(recordings, runs):
    return run_all(recordings, runs)


def finished(runs, stage):
    return {path.parent.name for path in runs.glob(f"{stage}-*/model")}


def test_stages_that_do_not_differ_are_trained_once(ran, runs):
    _, stages = ran
    assert list(stages["variant"]) == list(VARIANTS)
    assert finished(runs, "quantizer") == set(stages["quantizer"]) and stages["quantizer"].nunique() == 4
    assert finished(runs, "transformer") == set(stages["transformer"]) and stages["transformer"].nunique() == 7
    quantizers = stages.set_index("variant")["quantizer"]
    shared = [name for name in VARIANTS if quantizers[name] == quantizers[BASELINE]]
    assert shared == TABLES["table8"][0] == [BASELINE, NO_SAMPLING, NO_REPLACEMENT, "without both"]


def test_another_seed_shares_no_stage(ran, recordings, runs, monkeypatch):
    profile = recordings.profile
    other = profile.changed(ablation=profile.ablation.changed(seeds=(6,)))
    monkeypatch.setattr(training.Run, "train", lambda run: pytest.fail(f"{run.folder.name}, seed {run.seed}"))
    with pytest.raises(pytest.fail.Exception, match=r"quantizer-\w+, seed 6"):
        run_all(dataclasses.replace(recordings, profile=other), runs)


def test_after_a_kill_only_what_is_missing_is_trained_with_the_same_result(ran, recordings, runs, monkeypatch):
    results, stages = ran
    lost = stages.set_index("variant").loc[NO_SAMPLING, "transformer"]
    shutil.rmtree(runs / lost)
    trained, original = [], training.Run.train
    monkeypatch.setattr(training.Run, "train", lambda run: (trained.append(run.folder.name), original(run)))
    again, _ = run_all(recordings, runs)
    assert trained == [lost]
    pd.testing.assert_frame_equal(again, results, check_exact=True)


def test_a_table_has_every_variant_session_and_metric_once(ran, recordings):
    results, _ = ran
    for item, (variants, metrics) in TABLES.items():
        rows = results[results["item"] == item]
        names = [session.name for session in recordings.held_in]
        expected = set(itertools.product(variants, names, metrics))
        assert set(rows[["variant", "session", "metric"]].itertuples(index=False, name=None)) == expected
        assert len(rows) == len(expected)
    baselines = results[(results["variant"] == BASELINE) & (results["metric"] != RECONSTRUCTION)]
    assert (baselines.groupby(["session", "metric"])["value"].agg(["nunique", "size"]) == [1, 2]).all(axis=None)


def test_the_published_values_stand_beside_ours(ran):
    ours = ran[0].assign(dataset="dandi_000579")
    published = read_published()
    published = published[published["item"].isin(TABLES)]
    both = compare(summarise(ours), published).dropna(subset=["ours", "paper"])
    assert len(both) == len(published) == 7
    assert set(both["metric"]) == {ROLLOUTS["expected"]}


def planted(adds, *, sessions=3, seeds=3, noise=0.004, luck=0.002, seed=0):
    """Rows of both tables in which each part adds so much to the greedy rollout; luck is that of a training."""
    rng = np.random.default_rng(seed)
    rows = []
    for item, (variants, _) in TABLES.items():
        for name, training_seed in itertools.product([each for each in variants if each in adds], range(seeds)):
            level = 0.4 - adds[name] + luck * rng.normal()
            for session in range(sessions):
                shared = {"item": item, "dataset": "cohort", "variant": name, "seed": training_seed}
                shared |= {"metric": ROLLOUTS["greedy"], "session": f"s{session}"}
                rows.append({**shared, "value": level + 0.1 * session + noise * rng.normal()})
    return pd.DataFrame(rows, columns=["item", "dataset", "session", "variant", "metric", "value", "seed"])


ADDS = {
    BASELINE: 0.0,
    "without AR loss": 0.05,
    "without Gumbel": 0.04,
    "without orthogonality": 0.06,
    NO_REPLACEMENT: 0.05,
}
MOST = "CalM (greedy): scheduled sampling over every other part"


@pytest.fixture
def judge(tmp_path):
    """Claim 18 on the rows of both tables."""

    def judge_rows(results):
        for item in TABLES:
            results[results["item"] == item].to_csv(tmp_path / f"{item}.csv", index=False)
        return judge_claims(tmp_path, [18]).set_index("method")

    return judge_rows


def test_the_claim_names_what_is_ablated_and_how_it_is_rolled_out():
    tests = CLAIMS[17].tests
    assert all(set(test["parts"]) == set(VARIANTS) - {BASELINE, "without both"} for test in tests)
    assert {test["rollout"]: test["metric"] for test in tests} == ROLLOUTS


def over(name):
    return f"CalM (greedy) over CalM {name}"


def test_parts_that_help_are_found_with_their_size(judge):
    greedy = planted({**ADDS, NO_SAMPLING: 0.2})
    claims = judge(pd.concat([greedy, greedy.assign(metric=ROLLOUTS["expected"])]))
    assert len(claims) == 2 * (len(CLAIMS[17].tests[0]["parts"]) + 1)
    assert set(claims["note"]) == {HOLDS}
    found = claims.loc[f"CalM (expected) over CalM {NO_SAMPLING}"]
    assert found["low"] < 0.2 < found["high"] and found["ours"] == pytest.approx(0.2, abs=0.01)
    assert claims.loc[MOST, "ours"] == pytest.approx(0.2 - 0.06, abs=0.01)  # above the next best part


def test_a_part_that_hurts_or_does_nothing_does_not_help(judge):
    notes = judge(planted({**ADDS, NO_SAMPLING: 0.2, "without Gumbel": -0.1, "without orthogonality": 0.0}))["note"]
    assert notes[over("without Gumbel")] == notes[over("without orthogonality")] == FAILS
    assert notes[over("without AR loss")] == HOLDS


def test_scheduled_sampling_that_helps_less_than_another_part_does_not_help_most(judge):
    notes = judge(planted({**ADDS, NO_SAMPLING: 0.05, "without AR loss": 0.2}))["note"]
    assert notes[over(NO_SAMPLING)] == HOLDS and notes[MOST] == FAILS


def test_the_luck_of_trainings_is_not_taken_for_an_effect():
    nothing, p_pairs, p_seeds = {BASELINE: 0.0, NO_SAMPLING: 0.0}, [], []
    for seed in range(40):
        scores = by_training(planted(nothing, luck=0.05, seed=seed), ROLLOUTS["greedy"])
        found = ablated(scores, BASELINE, NO_SAMPLING)
        p_pairs.append(found.p)
        p_seeds.append(found.p_sessions)
    assert 0.15 < np.mean(np.array(p_seeds) < 0.3) < 0.45  # 40 draws of a uniform p: 0.3, s.e. 0.07
    assert np.mean(np.array(p_pairs) < 0.05) > 0.15  # far above 0.05: these very trainings do differ


def test_what_was_not_trained_cannot_be_tested(judge):
    notes = judge(planted(ADDS))["note"]
    assert notes[over(NO_SAMPLING)] == notes[MOST] == notes[f"CalM (expected) over CalM {NO_REPLACEMENT}"] == UNTESTED
    assert notes[over(NO_REPLACEMENT)] == HOLDS
    assert set(judge(planted({}))["note"]) == {UNTESTED}


def test_pairs_too_few_to_be_significant_cannot_be_tested(judge):
    clear = {**ADDS, NO_SAMPLING: 0.2}
    few, enough = (judge(planted(clear, sessions=2, seeds=seeds)).filter(like="greedy", axis=0) for seeds in (3, 4))
    assert set(few["note"]) == {UNTESTED} and set(few["needs"]) == {"8 pairs of session and training"}
    assert set(enough["note"]) == {HOLDS}


def test_a_single_training_says_nothing_about_others(judge):
    rows = judge(planted({**ADDS, NO_SAMPLING: 0.2}, sessions=9, seeds=1)).filter(like="greedy", axis=0)
    assert set(rows["note"]) == {HOLDS_FOR_SESSIONS}


def test_spreads_over_sessions_and_seeds_are_told_apart():
    rows = planted({BASELINE: 0.0}, noise=0.0, luck=0.0)
    rows["value"] = 0.1 * rows["session"].str[1:].astype(int) + 0.01 * rows["seed"]
    spreads = summarise_variants(rows)
    np.testing.assert_allclose(spreads["sd over sessions"], 0.1)
    np.testing.assert_allclose(spreads["sd over seeds"], 0.01)
    np.testing.assert_allclose(spreads["mean"], 0.11)


def test_beside_forecasts_stands_what_the_paper_printed():
    table7 = planted({BASELINE: 0.0, "without Gumbel": 0.2}).query("item == 'table7'").assign(metric="corr")
    axes = list(plt.subplots(1, 2)[1])
    variant_panels(axes, table7, ablation_effects(table7), {"corr": "expected rollout"}, "forecast correlation")
    (crosses,) = [line.get_xydata() for line in axes[0].lines if line.get_marker() == "x"]
    np.testing.assert_allclose(crosses, [(0.3424, 0), (0.3148, 1)])
    plt.close("all")


def test_panels_show_trainings_and_paired_differences():
    rows = planted({BASELINE: 0.0, NO_SAMPLING: 0.2, "without both": 0.3})
    table8 = rows[rows["item"] == "table8"]
    axes = list(plt.subplots(1, 2)[1])
    variant_panels(axes, table8, ablation_effects(table8), {"corr, greedy": "greedy rollout"}, "forecast correlation")
    names = [label.get_text().replace("\n", " ") for label in axes[0].get_yticklabels()]
    assert names == [BASELINE, NO_SAMPLING, "without both"]
    dots = [[line for line in panel.lines if line.get_marker() == "o"] for panel in axes]
    assert [len(line.get_xdata()) for line in dots[0]] == [3, 3, 3]  # trainings
    assert [len(line.get_xdata()) for line in dots[1]] == [9, 9]  # pairs, none for the baseline
    (diamonds,) = (line.get_xdata() for line in axes[1].lines if line.get_marker() == "D")
    assert diamonds == pytest.approx([0.2, 0.3], abs=0.01)
    assert diamonds[0] == pytest.approx(dots[1][0].get_xdata().mean(), abs=1e-6)
    plt.close("all")
