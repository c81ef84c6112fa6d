"""The comparison with the paper, and the claims."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calm import report
from calm.claims import (
    FAILS,
    HOLDS,
    HOLDS_HERE,
    RIVALS,
    UNTESTED,
    is_testable,
    judge_claim_2,
    judge_claim_4,
    paired_claim,
)
from calm.provenance import update_provenance
from calm.results import TRY, Row, TrialRow, save_item, summarise, table


@pytest.fixture
def cost_rows():
    """What POCO took in two sessions."""
    shared = {"item": "fig3b_cost", "dataset": "simulation", "method": "POCO", "n": 1, "seed": 0}
    found = [("parameters", "train", "", 1562300.0), ("training (s)", "train", "", 61.5)]
    found.append((TRY, "val", "learning rate 0.001", 0.712))
    return [
        Row(session=f"s{session}", metric=metric, split=split, variant=variant, value=value, **shared)
        for session in range(2)
        for metric, split, variant, value in found
    ]


def trial_rows(scores, sessions, trials=20, seed=0, noise=0.05, item="fig3b_trials"):
    """Per-trial correlations around a level for each (method, variant); a trial is as easy for every method."""
    rng = np.random.default_rng(seed)
    fixed = {"item": item, "dataset": "simulation", "metric": "corr", "n": 1, "seed": 0}
    rows = []
    for session, split in itertools.product(range(sessions), ("val", "test")):
        for trial, ease in enumerate(rng.normal(0, 0.2, trials)):
            for (method, variant), level in scores.items():
                value = level + ease + noise * rng.normal()
                names = {"session": f"s{session}", "split": split, "method": method, "variant": variant}
                rows.append(TrialRow(trial=trial, value=value, **names, **fixed))
    return table(rows)


BETTER = {("CalM", "greedy"): 0.1, ("CalM", "mean of 4"): 0.2, ("CalM", "mean of 16"): 0.6, ("decay", ""): 0.4}


@pytest.mark.parametrize("sessions", [1, 3])
def test_a_clear_difference_is_found_with_its_size(sessions):
    claims = judge_claim_2(trial_rows(BETTER, sessions)).set_index("method")
    decay = claims.loc["CalM (mean of 16) over decay"]
    assert decay["note"] == (HOLDS if sessions > 1 else HOLDS_HERE)
    assert decay["low"] < 0.2 < decay["high"]
    assert decay["p"] < 0.05


@pytest.mark.parametrize("sessions", [1, 3])
def test_being_worse_does_not_count_as_better(sessions):
    worse = {("CalM", "mean of 4"): 0.3, ("decay", ""): 0.6}
    claims = judge_claim_2(trial_rows(worse, sessions)).set_index("method")
    assert claims.loc["CalM (mean of 4) over decay", "note"] == FAILS
    assert claims.loc["CalM (mean of 4) over decay", "ours"] < 0


def test_calms_variant_is_chosen_on_validation_trials_not_on_test_trials():
    rows = trial_rows(BETTER, 1)
    rows.loc[(rows["split"] == "test") & (rows["variant"] == "greedy"), "value"] += 10
    assert judge_claim_2(rows)["method"].str.startswith("CalM (mean of 16)").all()


def test_methods_of_the_paper_that_were_not_run_are_named_as_untested():
    claims = judge_claim_2(trial_rows(BETTER, 3)).set_index("method")["note"]
    assert all(claims[f"CalM (mean of 16) over {name}"] == UNTESTED for name in RIVALS)


def test_without_calm_nothing_can_be_tested():
    claims = judge_claim_2(trial_rows({("ridge VAR", ""): 0.5, ("decay", ""): 0.4}, 1))
    assert set(claims["note"]) == {UNTESTED}


def test_ceilings_are_no_competitors():
    claims = judge_claim_2(trial_rows({**BETTER, ("ceiling", "known state"): 0.7}, 1))
    assert not claims["method"].str.contains("ceiling").any()


def test_p_values_are_corrected_for_the_number_of_methods():
    level = {("CalM", "mean of 4"): 0.42, ("decay", ""): 0.4}
    alone = judge_claim_2(trial_rows(level, 1)).set_index("method").loc["CalM (mean of 4) over decay", "p"]
    rows = trial_rows(level, 1)
    copies = [rows[rows["method"] == "decay"].assign(method=name) for name in ("ridge VAR", "mean trial")]
    together = judge_claim_2(pd.concat([rows, *copies])).set_index("method").loc["CalM (mean of 4) over decay", "p"]
    assert together == pytest.approx(min(3 * alone, 1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_tests_are_symmetric_in_the_two_methods(seed, sessions):
    differences = np.random.default_rng(seed).normal(0.1, 1, 12)
    groups = [f"s{index % sessions}" for index in range(12)]
    forward, backward = paired_claim(differences, groups), paired_claim(-differences, groups)
    assert forward.effect == pytest.approx(-backward.effect, abs=1e-6)
    assert forward.low == pytest.approx(-backward.high, abs=1e-4)
    assert forward.low <= forward.effect <= forward.high
    assert 0 < forward.p <= 1


def test_trials_of_few_sessions_do_not_make_a_claim_about_sessions():
    rng = np.random.default_rng(0)
    shifts = np.repeat([0.3, -0.1, 0.1], 200)  # mean 0.1, but the sessions disagree
    assert paired_claim(shifts + 0.05 * rng.normal(size=600), list(np.repeat(["a", "b", "c"], 200))).p_sessions > 0.3


def test_false_alarms_are_rare_with_three_sessions():
    rng, groups = np.random.default_rng(0), list(np.repeat(["a", "b", "c"], 10))
    alarms = 0
    for _ in range(60):
        shifts = np.repeat(rng.normal(0, 0.1, 3), 10)
        alarms += paired_claim(shifts + 0.1 * rng.normal(size=30), groups).p_sessions < 0.05
    assert alarms <= 8  # 3 expected; the normal reference gives about 10


def test_nothing_is_claimed_without_an_error_to_estimate():
    assert not is_testable(np.zeros(10), ["a"] * 10)
    assert not is_testable(np.array([0.1]), ["a"])
    assert not is_testable(np.array([0.1, 0.2]), ["a", "b"])
    assert is_testable(np.array([0.1, 0.2]), ["a", "a"])


def many_rows(held_in, held_out):
    """Per-trial correlations of CalM and POCO on two groups of sessions."""
    groups = {"held-in": held_in, "held-out": held_out}
    tables = []
    for number, (group, (calm, poco)) in enumerate(groups.items()):
        scores = {("CalM", f"expected, {group}"): calm, ("CalM", f"greedy, {group}"): 0.1, ("POCO", group): poco}
        rows = trial_rows(scores, sessions=4, trials=40, seed=number, noise=0.01, item="fig3d_trials")
        tables.append(rows.assign(session=rows["session"] + group))
    return pd.concat(tables, ignore_index=True)


def test_competitive_is_as_good_or_a_little_worse_but_not_more():
    claims = judge_claim_4(many_rows((0.395, 0.4), (0.3, 0.4)))
    assert claims["note"].tolist() == [HOLDS, FAILS]
    assert claims["method"].tolist() == [f"CalM (expected) over POCO, {group}" for group in ("held-in", "held-out")]
    np.testing.assert_allclose(claims["ours"], [-0.005, -0.1], atol=0.005)
    assert (claims["low"] < claims["ours"]).all() and (claims["ours"] < claims["high"]).all()


def test_competitive_needs_both_methods():
    rows = many_rows((0.4, 0.4), (0.4, 0.4))
    assert set(judge_claim_4(rows[rows["method"] == "CalM"])["note"]) == {UNTESTED}


def test_published_values_are_all_there():
    published = report.read_published()
    assert len(published) == 39
    assert published["value"].between(0, 1).all()
    assert not published.duplicated(["item", "method", "variant", "metric"]).any()
    fig3c = published[published["item"] == "fig3c"].set_index("method")["value"]
    assert fig3c["CalM"] == 0.4025 and fig3c.idxmax() == "CalM"


def summary_of(item, dataset, variants):
    rows = trial_rows({("CalM", variant): 0.5 for variant in variants}, 2, trials=1, item=item)
    return summarise(rows[rows["split"] == "test"].assign(dataset=dataset))


def test_comparison_puts_ours_beside_the_paper_on_the_same_data_only():
    published = report.read_published()
    real = report.compare(summary_of("fig3c", "dandi_000579", ["greedy", "mean of 4"]), published)
    calm = real[(real["item"] == "fig3c") & (real["method"] == "CalM")]
    assert calm["paper"].tolist() == [0.4025, 0.4025] and set(calm["note"]) == {""}
    assert set(real.loc[real["method"] == "POCO", "note"]) == {report.NOT_RUN}
    synthetic = report.compare(summary_of("fig3c", "cohort", ["greedy"]), published)
    calm = synthetic[(synthetic["item"] == "fig3c") & (synthetic["method"] == "CalM")].set_index("dataset")
    assert calm.loc["cohort", "note"] == report.NO_COUNTERPART
    assert calm.loc["dandi_000579", "note"] == report.NO_RECORDINGS
    assert len(synthetic) == len(published) + 1


def test_a_published_variant_stands_beside_the_same_variant_only():
    ours = summary_of("table7", "dandi_000579", ["baseline", "another"])
    comparison = report.compare(ours, report.read_published()).query("item == 'table7'").set_index("variant")
    assert comparison.loc["baseline", "paper"] == 0.3424
    assert comparison.loc["another", "note"] == report.NO_COUNTERPART


@pytest.fixture
def written(tmp_path):
    folder = tmp_path / "quick"
    trials = trial_rows(BETTER, 3)
    save_item(folder, "fig3b_trials", trials, None, {})
    means = trials.groupby([*trials.columns.drop(["trial", "value", "n"])], sort=False)["value"].agg(
        value="mean", n="count"
    )
    save_item(folder, "fig3b", means.reset_index().assign(item="fig3b"), None, {})
    entry = {"config": {"dat": {"width": 96}}, "seed": 0, "commit": "a" * 40, "dirty": True}
    entry |= {"device": "CPU (test)", "threads": 2, "date": "2026-01-01", "wall_time_s": 90.0}
    update_provenance(folder / "provenance.json", "fig3b", entry)
    return report.write_report(tmp_path, "quick")


def test_report_holds_header_comparison_and_claims(written):
    text = written.read_text()
    for fact in ("quick", "aaaaaaaaaaaa with uncommitted changes", "CPU (test)", "1.5 min", "dat.width", "96"):
        assert fact in text
    for heading in ("## fig3b", "## fig3c", "## table9", "## Claims"):
        assert heading in text
    assert report.NO_RECORDINGS in text and report.NO_COUNTERPART in text and HOLDS in text
    assert "nan" not in text.lower()


def test_report_can_be_written_again(written):
    before = written.read_text()
    assert report.write_report(written.parents[1], "quick").read_text() == before


def test_costs_are_a_row_a_method_and_figures_without_rows_are_shown(written, cost_rows):
    save_item(written.parent, "fig3b_cost", table(cost_rows), None, {})
    (written.parent / "fig3b_fading.png").touch()
    text = report.write_report(written.parents[1], "quick").read_text()
    section = text.split("## fig3b_cost")[1].split("## ")[0]
    row = next(line for line in section.splitlines() if line.startswith("| POCO "))
    assert "1,562,300" in row and "61.50" in row
    assert "| POCO, learning rate 0.001 " in section and "0.712" in section
    assert "![fig3b_fading](fig3b_fading.png)" in text


def test_summary_fits_a_terminal(written, capsys):
    report.print_summary(written.with_name("report.csv"))
    printed = capsys.readouterr().out
    table_lines = [line for line in printed.splitlines() if not line.startswith("Figures")]
    assert max(map(len, table_lines)) <= 100
    assert "CalM, mean of 16" in printed and "39 published values need the recordings" in printed
