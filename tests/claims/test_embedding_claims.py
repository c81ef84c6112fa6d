"""Claims 10-17: verdicts follow what the embeddings and forecasts hold; nothing is claimed without results."""

import numpy as np
import pandas as pd
import pytest
from claim_cases import judged, session_rows, trial_rows

from calm.paper.claims.comparisons import FAILS, HOLDS, HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS, UNTESTED
from calm.paper.claims.table import CLAIMS, judge, verdict_of
from calm.paper.embeddings.dynamics import COMPONENT_CORR, NEURON_CORR
from calm.paper.embeddings.gradients import ANGLE, IN_SAMPLE, LEFT_OUT
from calm.paper.embeddings.study import (
    SHOWN,
    TUNING_CORR,
    TuningStudy,
    neuron_embeddings,
    session_embeddings,
)
from calm.paper.embeddings.tuning import TRUTH
from calm.paper.experiments.classification import NEURON, SESSION, add_table9, classify_embeddings
from calm.paper.results import Results, check, save_item

D_PRIME_CORR, TRUE_CORR = "corr of d' with true tuning", "corr with true tuning"
OTHERS_CORR = f"{COMPONENT_CORR}, other trials"
SESSIONS = 8


@pytest.fixture(autouse=True)
def few_resamplings(monkeypatch):
    monkeypatch.setattr("calm.paper.embeddings.study.RESAMPLINGS", 60)


def tuned_neurons(strength, *, neurons=240, channels=12, seed=0):
    """Embeddings that follow the tuning along two directions with this strength; the tuning table with the truth."""
    rng = np.random.default_rng(seed)
    tuning, embeddings = rng.normal(size=(neurons, 2)), rng.normal(size=(neurons, channels))
    embeddings[:, :2] += strength * tuning
    embeddings = embeddings @ np.linalg.qr(rng.normal(size=(channels, channels)))[0]  # no channel is one of them
    about = {"session": [f"s{index % SESSIONS}" for index in range(neurons)], "neuron": range(neurons)}
    table = pd.DataFrame({**about, "cue": tuning[:, 0], "choice": tuning[:, 1]})
    truth = pd.DataFrame({f"true {name}": rng.normal(size=neurons) for name in TRUTH})
    truth["true cue"] = table["cue"] + 0.1 * rng.normal(size=neurons)
    return embeddings, table.join(truth)


def tuning_scores(strength, group="held-in", *, draws=49, **case):
    results = Results("cohort", 0)
    study = TuningStudy(results, group, *tuned_neurons(strength, **case), ["cue", "choice"], draws=draws, refits=3)
    return results, study.run()


def write(folder, *sources):
    for source in sources:
        for item in source.items:
            save_item(folder, item, source.table(item), None, {})


def test_what_has_no_results_cannot_be_tested(tmp_path):
    write(tmp_path, tuning_scores(2.0)[0])
    claims = judge(tmp_path, [10, 15, 16, 17]).set_index("item")
    assert claims.loc["claim 10", "ours"].notna().all() and claims.loc["claim 15":, "ours"].isna().all()


def test_gradients_that_are_there_hold_and_are_orthogonal_where_the_tunings_are_independent(tmp_path):
    scores, reasons = tuning_scores(2.0)
    assert reasons == []
    write(tmp_path, scores)
    for claim in (10, 11):
        rows = judged(tmp_path, claim)
        assert len(rows) == 2 and set(rows["note"]) == {HOLDS_FOR_MICE} and rows["ours"].min() > 0.5
        assert (rows["low"] < rows["ours"]).all() and (rows["ours"] < rows["high"]).all()
        np.testing.assert_allclose(rows["p"], 0.04)  # 1 / 50, twice after Holm
    assert set(judged(tmp_path, 13)["note"]) == {HOLDS_FOR_SESSIONS}
    (angle,) = judged(tmp_path, 12).itertuples()
    assert angle.note == HOLDS_FOR_SESSIONS and 75 <= angle.low < angle.ours < angle.high <= 105
    assert set(judged(tmp_path, 14)["note"]) == {UNTESTED}
    mice = session_rows((2,) * 4).assign(session=[f"s{index}" for index in range(SESSIONS)])
    assert set(judged(tmp_path, 11, data_session_subjects=mice)["note"]) == {HOLDS}  # four mice, which are known now


def test_held_out_sessions_make_claim_14(tmp_path):
    write(tmp_path, tuning_scores(2.0, "held-out")[0])
    assert set(judged(tmp_path, 14)["note"]) == {HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS}
    assert len(judged(tmp_path, 14)) == 7
    assert set(judged(tmp_path, 11)["note"]) == {UNTESTED}


def test_noise_holds_nothing_and_has_no_angle(tmp_path):
    write(tmp_path, tuning_scores(0.0)[0])
    claims = judge(tmp_path).set_index("item")["note"]
    for claim in ("claim 10", "claim 11", "claim 13"):
        assert set(claims[claim]) == {FAILS}
    assert claims["claim 12"] == UNTESTED


def test_an_angle_far_from_a_right_one_does_not_hold(tmp_path):
    embeddings, table = tuned_neurons(0.0, neurons=600)
    table["choice"] += 2 * table["cue"]
    embeddings[:, :2] += 3 * table[["cue", "choice"]].to_numpy()
    scores = Results("cohort", 0)
    TuningStudy(scores, "held-in", embeddings, table, ["cue", "choice"], draws=49, refits=1).run()
    write(tmp_path, scores)
    (angle,) = judged(tmp_path, 12).itertuples()
    assert angle.note == FAILS and angle.high < 75


def test_too_few_tuned_neurons_are_told_once_and_untested(tmp_path):
    scores, reasons = tuning_scores(2.0, neurons=18, draws=3)
    assert len(reasons) <= 4 and any("are too few" in reason for reason in reasons)
    assert len(set(reasons)) == len(reasons) and scores.items == ()


def test_statistics_of_gradients_are_rows_and_the_truth_stands_beside_d_prime():
    scores, _ = tuning_scores(2.0, draws=5)
    tables = {item: scores.table(item) for item in scores.items}
    details = {"fig5a_neurons", "fig5b_neurons", "fig5a_null", "fig5b_angles", "fig5_read_out"}
    assert set(tables) == {"fig5a", "fig5b", "fig7a", "fig7b", *details}
    for item, rows in tables.items():
        check(rows, item)
    values = tables["fig5b"].query("session == 'all'").set_index(["metric", "variant"])["value"]
    assert values[D_PRIME_CORR, "cue"] > 0.98 and abs(values[D_PRIME_CORR, "choice"]) < 0.3
    assert values[TUNING_CORR, f"cue, {IN_SAMPLE}"] > values[TRUE_CORR, f"cue, {IN_SAMPLE}"] > 0.7
    assert values[TRUE_CORR, f"cue, {LEFT_OUT}"] > 0.7 > 0.4 > abs(values[TRUE_CORR, f"choice, {LEFT_OUT}"])
    drawn = tables["fig7a"].query("draw == 0").set_index("variant")["value"]
    for kind in (IN_SAMPLE, LEFT_OUT):
        assert drawn[f"cue, {kind}"] == pytest.approx(values[TUNING_CORR, f"cue, {kind}"])
    angles = tables["fig5b_angles"].query("metric == @ANGLE and draw == 0")["value"]
    assert angles.tolist() == pytest.approx([values[ANGLE, ""]] * 2)
    assert tables["fig7a"]["draw"].max() == 5
    shown = tables["fig5b_neurons"].groupby("metric").size()
    assert shown.tolist() == [tables["fig5b"]["n"].iloc[0]] * 4 and shown.iloc[0] <= SHOWN
    observed = tables["fig5_read_out"].query("draw == 0").set_index("variant")["value"]
    assert list(observed.index) == ["d' of cue", "d' of choice", *(f"true {name}" for name in TRUTH)]
    assert observed["true cue"] > 0.8 > 0.3 > abs(observed["true speed"])


def test_embeddings_are_those_of_the_named_sessions(dat, make_session):
    sessions = [make_session([20] * 8, neurons=3, name="other"), make_session([20] * 8, neurons=5)]
    found = neuron_embeddings(dat, sessions)
    assert found.shape == (8, 8)
    np.testing.assert_array_equal(found[:3], dat.neuron_embeddings[dat.index["other"]].detach())
    np.testing.assert_array_equal(session_embeddings(dat, sessions)[1], dat.session_embeddings[0].detach())


# --- Dynamics

METRICS = (COMPONENT_CORR, OTHERS_CORR, NEURON_CORR)


def dynamics(calm, poco, rival=0.9):
    """Trials of four mice with planted scores of each metric, and shuffles that reach 0.1."""
    levels = {("CalM", "mean of 4"): calm, ("POCO", ""): poco, ("ridge VAR", ""): rival}
    rows = trial_rows(levels, (2,) * 4, metrics=METRICS, group="held-in", noise=0.02).query("split == 'test'")
    draws = pd.DataFrame({"value": [calm[0], *np.linspace(0, 0.1, 199)], "draw": range(200)})
    draws = draws.assign(method="CalM", variant="mean of 4", group="held-in", metric=COMPONENT_CORR)
    return {"fig5c_trials": rows, "fig5c_shuffles": draws, "data_session_subjects": session_rows((2,) * 4)}


def test_better_dynamics_hold_over_poco_and_other_trials_and_no_other_rival_counts(tmp_path):
    tests = judged(tmp_path, 15, **dynamics((0.6, 0.2, 0.4), 0.4)).query("group == 'held-in'")
    counted = tests[tests["counts"]]
    assert list(counted.index) == [f"CalM (mean of 4) over {name}" for name in ("POCO", "forecasts for other trials")]
    assert set(counted["note"]) == {HOLDS}
    np.testing.assert_allclose(counted["ours"], [0.2, 0.4], atol=0.03)
    assert counted["p"].iloc[1] == 1 / 200  # of the shuffles
    assert tests.loc["CalM (mean of 4) over ridge VAR", "note"] == FAILS
    assert verdict_of(CLAIMS[14], judge(tmp_path)) == HOLDS


def test_worse_dynamics_do_not_hold(tmp_path):
    tests = judged(tmp_path, 15, **dynamics((0.3, 0.2, 0.4), 0.4))
    assert tests.loc["CalM (mean of 4) over POCO", "note"].tolist() == [FAILS, UNTESTED]  # no held-out results


def test_components_are_compared_with_single_neurons(tmp_path):
    (row,) = judged(tmp_path, 16, **dynamics((0.6, 0.2, 0.4), 0.4)).query("group == 'held-in'").itertuples()
    assert row.note == HOLDS and row.ours == pytest.approx(0.2, abs=0.03)


# --- Labels


def label_scores(apart, sessions=12, neurons=80, seed=1):
    """Session embeddings whose mice lie `apart`, neuron embeddings that know nothing."""
    rng, mice = np.random.default_rng(seed), pd.Series(["3", "4", "5"] * (sessions // 3))
    names = pd.Series([f"s{index:02d}" for index in range(sessions)])
    own = apart * np.eye(8)[mice.astype(int) - 3] + 0.1 * rng.normal(size=(sessions, 8))
    scores = Results("cohort", 0)
    add_table9(scores, SESSION, "mouse", classify_embeddings(own, mice, names, whole_sessions=True, draws=39, seed=0))
    rows = [pd.Series(np.repeat(values, neurons)) for values in (mice, names)]
    noise = rng.normal(size=(sessions * neurons, 8))
    add_table9(scores, NEURON, "mouse", classify_embeddings(noise, *rows, whole_sessions=False, draws=9, seed=0))
    return scores


def test_labels_that_session_embeddings_hold_hold_and_what_neuron_embeddings_do_not_hold_is_hardly_there(tmp_path):
    write(tmp_path, label_scores(3.0, sessions=15))
    rows = judged(tmp_path, 17)
    mouse = rows.loc["session embedding, mouse"]
    assert mouse["note"] == HOLDS and mouse["p"] == mouse["p_sessions"] == 1 / 40
    assert mouse["low"] < mouse["ours"] == pytest.approx(2 / 3, abs=0.1) and mouse["ours"] <= mouse["high"] + 1e-9
    hardly = rows.loc["neuron embedding, mouse, at most 0.1"]
    assert hardly["note"] == HOLDS and hardly["high"] < 0.1
    assert set(rows[rows.index.str.contains("area|layer")]["note"]) == {UNTESTED}


def test_labels_that_session_embeddings_do_not_hold_fail(tmp_path):
    write(tmp_path, label_scores(0.0, sessions=15))
    assert judged(tmp_path, 17).loc["session embedding, mouse", "note"] == FAILS


def test_few_sessions_of_a_mouse_are_no_test_and_what_would_be_needed_is_told(tmp_path):
    write(tmp_path, label_scores(3.0, sessions=9))
    rows = judged(tmp_path, 17)
    assert set(rows["note"]) == {UNTESTED} and verdict_of(CLAIMS[16], judge(tmp_path)) == UNTESTED
    needs = "5 sessions of each mouse (one has 3)"
    assert set(rows.loc[rows.index.str.contains("mouse"), "needs"]) == {needs}
