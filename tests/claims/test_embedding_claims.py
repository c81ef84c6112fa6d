"""Claims 10-17: verdicts follow what the embeddings and forecasts hold; nothing is claimed without results."""

import functools

import numpy as np
import pandas as pd
import pytest

from calm.paper.claims.claims import COLUMNS, FAILS, HOLDS, HOLDS_HERE, UNTESTED
from calm.paper.claims.embedding_claims import OTHERS, SINGLE, judge_embedding_claims
from calm.paper.embeddings.classification import classify
from calm.paper.embeddings.dynamics_scores import DynamicsScores
from calm.paper.embeddings.embedding_rows import (
    ANGLE,
    D_PRIME_CORR,
    IN_SAMPLE,
    LEFT_OUT,
    TRUE_CORR,
    TUNING_CORR,
    neuron_embeddings,
    session_embeddings,
)
from calm.paper.embeddings.embedding_scores import SHOWN, TuningScores
from calm.paper.embeddings.label_scores import NEURON, SESSION, LabelScores
from calm.paper.embeddings.readout import TRUTH
from calm.paper.results import check, save_item

SESSIONS = 8


@pytest.fixture(autouse=True)
def few_resamplings(monkeypatch):
    monkeypatch.setattr("calm.paper.embeddings.embedding_scores.RESAMPLINGS", 60)


def tuned_neurons(strength, *, neurons=240, channels=12, seed=0):
    """Embeddings that follow the tuning along two directions with this strength, the tuning table and the truth."""
    rng = np.random.default_rng(seed)
    tuning, embeddings = rng.normal(size=(neurons, 2)), rng.normal(size=(neurons, channels))
    embeddings[:, :2] += strength * tuning
    embeddings = embeddings @ np.linalg.qr(rng.normal(size=(channels, channels)))[0]  # no channel is one of them
    about = {"session": [f"s{index % SESSIONS}" for index in range(neurons)], "neuron": range(neurons)}
    table = pd.DataFrame({**about, "cue": tuning[:, 0], "choice": tuning[:, 1]})
    truth = pd.DataFrame({name: rng.normal(size=neurons) for name in TRUTH})
    truth["cue"] = table["cue"] + 0.1 * rng.normal(size=neurons)
    return embeddings, table, truth


def tuning_scores(strength, group="held-in", *, draws=49, **given):
    scores = TuningScores("cohort", group, ["cue", "choice"], draws=draws, seed=0)
    return scores, scores.add(*tuned_neurons(strength, **given), refits=3)


def write(folder, *sources):
    for source in sources:
        for item, rows in source.tables().items():
            save_item(folder, item, rows, None, {})


judge = functools.cache(judge_embedding_claims)


def judged(folder, claim):
    return judge(folder).query("item == @claim").set_index("method")


def test_without_results_nothing_is_judged_and_with_some_the_rest_cannot_be_tested(tmp_path):
    assert judge_embedding_claims(tmp_path) is None
    write(tmp_path, tuning_scores(2.0)[0])
    claims = judge_embedding_claims(tmp_path)
    assert list(claims) == list(COLUMNS)
    assert set(claims["item"]) == {f"claim {number}" for number in range(10, 18)}
    unknown = claims[claims["item"].isin(["claim 15", "claim 16", "claim 17"])]
    assert set(unknown["note"]) == {UNTESTED} and unknown["ours"].isna().all()


def test_gradients_that_are_there_hold_and_are_orthogonal_where_the_tunings_are_independent(tmp_path):
    scores, reasons = tuning_scores(2.0)
    assert reasons == []
    write(tmp_path, scores)
    for claim in ("claim 10", "claim 11"):
        rows = judged(tmp_path, claim)
        assert len(rows) == 2 and set(rows["note"]) == {HOLDS} and rows["ours"].min() > 0.5
        assert (rows["low"] < rows["ours"]).all() and (rows["ours"] < rows["high"]).all()
        np.testing.assert_allclose(rows["p"], 0.04)  # 1 / 50, twice after Holm
    assert set(judged(tmp_path, "claim 13")["note"]) == {HOLDS_HERE}
    (angle,) = judged(tmp_path, "claim 12").itertuples()
    assert angle.note == HOLDS_HERE and 75 <= angle.low < angle.ours < angle.high <= 105
    assert set(judged(tmp_path, "claim 14")["note"]) == {UNTESTED}


def test_held_out_sessions_make_claim_14(tmp_path):
    write(tmp_path, tuning_scores(2.0, "held-out")[0])
    assert set(judged(tmp_path, "claim 14")["note"]) == {HOLDS, HOLDS_HERE}
    assert len(judged(tmp_path, "claim 14")) == 7
    assert set(judged(tmp_path, "claim 11")["note"]) == {UNTESTED}


def test_noise_holds_nothing_and_has_no_angle(tmp_path):
    write(tmp_path, tuning_scores(0.0)[0])
    claims = judge_embedding_claims(tmp_path).set_index("item")["note"]
    for claim in ("claim 10", "claim 11", "claim 13"):
        assert set(claims[claim]) == {FAILS}
    assert claims["claim 12"] == UNTESTED


def test_an_angle_far_from_a_right_one_does_not_hold(tmp_path):
    embeddings, table, _ = tuned_neurons(0.0, neurons=600)
    table["choice"] += 2 * table["cue"]
    embeddings[:, :2] += 3 * table[["cue", "choice"]].to_numpy()
    scores = TuningScores("cohort", "held-in", ["cue", "choice"], draws=49, seed=0)
    scores.add(embeddings, table, refits=1)
    write(tmp_path, scores)
    (angle,) = judged(tmp_path, "claim 12").itertuples()
    assert angle.note == FAILS and angle.high < 75


def test_too_few_tuned_neurons_are_told_once_and_untested(tmp_path):
    scores, reasons = tuning_scores(2.0, neurons=18, draws=3)
    assert len(reasons) <= 4 and any("are too few" in reason for reason in reasons)
    assert len(set(reasons)) == len(reasons) and scores.tables() == {}


def test_statistics_of_gradients_are_rows_and_the_truth_stands_beside_d_prime():
    scores, _ = tuning_scores(2.0, draws=5)
    tables = scores.tables()
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


def dynamics(make_session, error, *, single=0.0, trials=8):
    """Forecasts of CalM with some error, of POCO with an error of 1, along two directions that all neurons share."""
    scores = DynamicsScores("cohort", draws=199, seed=0)
    for number in range(6):
        rng = np.random.default_rng(number)
        mixture, courses = rng.normal(size=(30, 2)), rng.normal(size=(trials, 2, 24))
        futures = [mixture @ course + single * rng.normal(size=(30, 24)) for course in courses]
        forecasts = {
            (method, kind): [mixture @ (course + sd * rng.normal(size=course.shape)) for course in courses]
            for method, kind, sd in (("CalM", "mean of 4", error), ("POCO", "", 1.0))
        }
        session = make_session([24] * trials, name=f"s{number}")
        scores.add(session, "held-in", np.arange(trials), futures, forecasts)
    return scores


def test_better_dynamics_hold_over_poco_and_other_trials(make_session, tmp_path):
    write(tmp_path, dynamics(make_session, error=0.3))
    rows = judged(tmp_path, "claim 15").query("variant == 'held-in'")
    assert list(rows.index) == ["CalM (mean of 4) over POCO", f"CalM (mean of 4) over {OTHERS}"]
    assert set(rows["note"]) == {HOLDS} and (rows["ours"] > 0.02).all()
    assert rows.loc[f"CalM (mean of 4) over {OTHERS}", "p"] == pytest.approx(2 / 200, rel=0.5)
    assert set(judged(tmp_path, "claim 15").query("variant == 'held-out'")["note"]) == {UNTESTED}


def test_worse_dynamics_do_not_hold(make_session, tmp_path):
    write(tmp_path, dynamics(make_session, error=3.0))
    assert judged(tmp_path, "claim 15").loc["CalM (mean of 4) over POCO", "note"] == FAILS


def test_components_are_followed_better_than_noisy_neurons_where_few_of_them_count(make_session, tmp_path, monkeypatch):
    monkeypatch.setattr("calm.paper.embeddings.dynamics.COMPONENTS", 2)
    write(tmp_path, dynamics(make_session, error=0.3, single=2.0))
    (row,) = judged(tmp_path, "claim 16").query("variant == 'held-in'").itertuples()
    assert row.Index == f"CalM (mean of 4), components over {SINGLE}" and row.note == HOLDS and row.ours > 0.2


def test_a_session_with_one_trial_does_not_spoil_the_others(make_session, tmp_path):
    scores = dynamics(make_session, error=0.3)
    rng = np.random.default_rng(0)
    lone = [rng.normal(size=(30, 24))]
    forecasts = {("CalM", "mean of 4"): lone, ("POCO", ""): [-lone[0]]}
    scores.add(make_session([24], name="lone"), "held-in", np.arange(1), lone, forecasts)
    write(tmp_path, scores)
    rows = judged(tmp_path, "claim 15").query("variant == 'held-in'")
    assert UNTESTED not in set(rows["note"])


# --- Labels


def label_scores(apart, sessions=12, neurons=80, seed=1):
    """Session embeddings whose mice lie `apart`, neuron embeddings that know nothing."""
    rng, mice = np.random.default_rng(seed), pd.Series(["3", "4", "5"] * (sessions // 3))
    names = pd.Series([f"s{index:02d}" for index in range(sessions)])
    own = apart * np.eye(8)[mice.astype(int) - 3] + 0.1 * rng.normal(size=(sessions, 8))
    scores = LabelScores("cohort", seed=0)
    scores.add(SESSION, "mouse", classify(own, mice, names, whole_sessions=True, draws=39, seed=0))
    rows = [pd.Series(np.repeat(values, neurons)) for values in (mice, names)]
    noise = rng.normal(size=(sessions * neurons, 8))
    scores.add(NEURON, "mouse", classify(noise, *rows, whole_sessions=False, draws=9, seed=0))
    return scores


def test_labels_that_session_embeddings_hold_hold_and_what_neuron_embeddings_do_not_hold_is_hardly_there(tmp_path):
    write(tmp_path, label_scores(3.0))
    rows = judged(tmp_path, "claim 17")
    mouse = rows.loc["session embedding, mouse"]
    assert mouse["note"] == HOLDS and mouse["p"] == mouse["p_sessions"] == 1 / 40
    assert mouse["low"] < mouse["ours"] == pytest.approx(2 / 3, abs=0.1) and mouse["ours"] <= mouse["high"] + 1e-9
    hardly = rows.loc["neuron embedding, mouse, at most 0.1"]
    assert hardly["note"] == HOLDS and hardly["high"] < 0.1
    assert set(rows[rows.index.str.contains("area|layer")]["note"]) == {UNTESTED}


def test_labels_that_session_embeddings_do_not_hold_fail_and_few_sessions_are_no_test(tmp_path):
    write(tmp_path / "noise", label_scores(0.0))
    assert judged(tmp_path / "noise", "claim 17").loc["session embedding, mouse", "note"] == FAILS
    write(tmp_path / "few", label_scores(3.0, sessions=6))
    assert judged(tmp_path / "few", "claim 17").loc["session embedding, mouse", "note"] == UNTESTED
