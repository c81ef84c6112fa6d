"""Decoded behaviour as rows: means over trials, whole tokens, undefined scores, gains, costs, shares of labels."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from decoding_cases import BEHAVIOURS, decodable_session

from calm.metrics import channel_scores
from calm.paper import report
from calm.paper.experiments.decoding_scores import ALL_SESSIONS, DECODING_TRY, DecodingScores, gains
from calm.paper.experiments.evaluation import Cost
from calm.paper.experiments.trial_classification import Classified
from calm.paper.results import read_item, save_item, summarise
from calm.training.stages import Search, Trained

WINDOW = 4


@pytest.fixture(scope="module")
def session():
    return decodable_session(trials=30)


def new_scores():
    return DecodingScores("fig4b", "cohort", 0, WINDOW)


def guesses(session, trials, noise=0.3, seed=0):
    """What a decoder with this much noise says."""
    rng = np.random.default_rng(seed)
    return [session.behaviour[trial] + noise * rng.normal(size=session.behaviour[trial].shape) for trial in trials]


def values(table, *columns):
    return table.set_index([*columns, "metric"])["value"]


def test_scores_are_means_over_trials_of_whole_tokens(session):
    scores, trials = new_scores(), session.trials_of("test")
    decoded = guesses(session, trials)
    scores.add(session, trials, {("GLM", ""): decoded})
    cut = [(session.behaviour[trial], guess) for trial, guess in zip(trials, decoded, strict=True)]
    cut = [(true[: len(true) // 4 * 4], guess[: len(true) // 4 * 4]) for true, guess in cut]
    found = values(scores.table())
    for metric in ("r2", "mse", "corr"):
        per_trial = np.mean([channel_scores(*pair)[metric] for pair in cut], axis=0)
        np.testing.assert_allclose(found[[f"{metric} {name}" for name in BEHAVIOURS]], per_trial)
        assert found[metric] == pytest.approx(per_trial.mean())
    over = channel_scores(*(np.concatenate(each) for each in zip(*cut, strict=True)))["r2"]
    np.testing.assert_allclose(found[[f"r2 over frames {name}" for name in BEHAVIOURS]], over)
    assert (scores.table()["n"] == len(trials)).all() and set(scores.table()["split"]) == {"test"}


def test_frames_behind_the_last_whole_token_do_not_count(session):
    trials = session.trials_of("test")
    whole = [session.frames[trial] // WINDOW * WINDOW for trial in trials]
    spoilt = guesses(session, trials)
    assert any(len(guess) > frames for guess, frames in zip(spoilt, whole, strict=True))
    clean = [guess[:frames].copy() for guess, frames in zip(spoilt, whole, strict=True)]
    for guess, frames in zip(spoilt, whole, strict=True):
        guess[frames:] = 1e6
    scores = new_scores()
    scores.add(session, trials, {("spoilt", ""): spoilt, ("clean", ""): clean})
    table = values(scores.table(), "method")
    pd.testing.assert_series_equal(table["spoilt"], table["clean"])


def test_trial_rows_hold_what_the_means_are_made_of(session):
    scores, trials = new_scores(), session.trials_of("test")
    scores.add(session, trials, {("CalM", "GLU head"): guesses(session, trials)}, group="held-in")
    rows, found = scores.trial_table(), values(scores.table())
    assert set(rows["metric"]) == {"r2", *(f"r2 {name}" for name in BEHAVIOURS)}
    assert set(rows["item"]) == {"fig4b_trials"} and set(rows["variant"]) == {"GLU head, held-in"}
    for metric, each in rows.groupby("metric"):
        assert sorted(each["trial"]) == sorted(trials)
        assert each["value"].mean() == pytest.approx(found[metric])


def test_trials_on_which_a_channel_does_not_change_are_left_out_of_its_r2_and_counted(session):
    trials = session.trials_of("test")
    behaviour = [channels.copy() for channels in session.behaviour]
    behaviour[trials[0]][:, 2] = 0.3
    behaviour[trials[1]][:, 2] = np.nan
    still = dataclasses.replace(session, behaviour=tuple(behaviour))
    decoded, scores = guesses(session, trials), new_scores()
    scores.add(still, trials, {("GLM", ""): decoded})
    counts = scores.table().set_index("metric")["n"]
    assert counts["r2 yaw"] == counts["corr yaw"] == len(trials) - 2 and counts["mse yaw"] == len(trials) - 1
    assert counts["r2 pitch"] == counts["r2"] == len(trials)
    defined = scores.trial_table().query("metric == 'r2 yaw'")
    assert sorted(defined["trial"]) == sorted(trials[2:])
    assert values(scores.table())["r2 yaw"] == pytest.approx(defined["value"].mean())


def test_a_channel_that_never_changes_within_trials_has_no_r2_but_one_over_frames(session, tmp_path):
    levels = tuple(
        np.full((len(channels), 1), index % 2, np.float32) for index, channels in enumerate(session.behaviour)
    )
    steps = dataclasses.replace(session, behaviour=levels, behaviour_names=("lick",))
    trials = session.trials_of("train")
    scores = new_scores()
    scores.add(steps, trials, {("GLM", ""): [levels[trial] for trial in trials]})
    save_item(tmp_path, "fig4b", scores.table(), None, {})
    back = read_item(tmp_path / "fig4b.csv").set_index("metric")
    assert np.isnan(back.loc["r2 lick", "value"]) and back.loc["r2 lick", "n"] == 0
    assert back.loc["r2 over frames lick", "value"] == 1
    assert not len(scores.trial_rows)


def many(session, levels):
    """Two sessions of CalM and POYO+ with the given noise, held-in and held-out."""
    scores = DecodingScores("fig4c", "dandi_000579", 0, WINDOW)
    for name in ("a", "b"):
        each, trials = dataclasses.replace(session, name=name), session.trials_of("test")
        for group in ("held-in", "held-out"):
            decoded = {label: guesses(session, trials, noise, len(name)) for label, noise in levels.items()}
            scores.add(each, trials, decoded, group)
    return scores


LEVELS = {("CalM", "GLU head"): 0.2, ("POYO+", ""): 0.5}


def test_gains_are_differences_to_poyo_in_points_and_relative(session):
    scores = many(session, LEVELS)
    table = scores.table()
    found = gains(table, "held-in")
    means = summarise(table).set_index(["method", "variant", "metric"])["mean"]
    for channel in ("", *(f" {name}" for name in BEHAVIOURS)):
        ours, theirs = means["CalM", "GLU head, held-in", f"r2{channel}"], means["POYO+", "held-in", f"r2{channel}"]
        points = found[found["metric"] == f"r2 gain over POYO+{channel}"]
        assert sorted(points["session"]) == ["a", "b"] and points["value"].mean() == pytest.approx(ours - theirs)
        (relative,) = found[found["metric"] == f"relative r2 gain over POYO+{channel}"].itertuples()
        assert relative.value == pytest.approx(ours / theirs - 1) and relative.session == ALL_SESSIONS
    assert len(found) == 4 * 3


def test_gains_over_a_rival_that_decodes_nothing_are_not_relative(session):
    found = values(gains(many(session, {**LEVELS, ("POYO+", ""): 5.0}).table(), "held-in"))
    assert np.isnan(found["relative r2 gain over POYO+ yaw"])
    assert gains(many(session, {("CalM", "GLU head"): 0.2}).table(), "held-in").empty


def test_scores_stand_beside_the_published_ones(session, tmp_path):
    scores = many(session, LEVELS)
    table = pd.concat([scores.table(), gains(scores.table(), "held-in"), gains(scores.table(), "held-out")])
    save_item(tmp_path, "fig4c", table, None, {})
    single = DecodingScores("fig4b", "dandi_000579", 0, WINDOW)
    trials = session.trials_of("test")
    labels = [("GLM", ""), ("RRR", ""), ("TCN", ""), ("POYO+", ""), ("CalM", "linear head"), ("CalM", "GLU head")]
    single.add(session, trials, {label: guesses(session, trials) for label in labels})
    save_item(tmp_path, "fig4b", single.table(), None, {})
    ours = summarise(pd.concat([read_item(tmp_path / f"{item}.csv") for item in ("fig4b", "fig4c")]))
    compared = report.compare(ours, report.read_published())
    paper = compared[compared["item"].isin(["fig4b", "fig4c"]) & compared["paper"].notna()]
    assert len(paper) == 18 + 3 and (paper["note"] == "").all() and paper["ours"].notna().all()


def test_tables_survive_the_disk(session, tmp_path):
    scores, trials = new_scores(), session.trials_of("test")
    scores.add(session, trials, {("GLM", ""): guesses(session, trials)})
    scores.add_share(session, trials, {("GLM", ""): guesses(session, trials)}, 0.25)
    tables = {"fig4b": scores.table(), "fig4b_trials": scores.trial_table(), "fig4b_labels": scores.share_table()}
    for item, table in tables.items():
        save_item(tmp_path, item, table, None, {})
        pd.testing.assert_frame_equal(read_item(tmp_path / f"{item}.csv"), table)
    shares = scores.share_table()
    assert (shares["share"] == 0.25).all()
    pd.testing.assert_series_equal(values(shares), values(scores.table()))


def test_costs_and_tries_tell_the_heads_apart_and_errors_are_positive(session):
    scores = new_scores()
    scores.add_costs(session, 4, {("CalM", "GLU head"): Cost(10, 1.0, 3.0), "TCN": Cost(20, 2.0, 4.0)}, {})
    tried = Trained(torch.nn.Linear(1, 1), pd.DataFrame({"val": [-0.5, -0.25]}), "key")
    scores.add_tries(session, {("CalM", "GLU head"): Search({1e-3: tried}), "TCN": Search({1e-2: tried})})
    found = values(scores.cost_table(), "method", "variant")
    assert found["CalM", "GLU head", "parameters"] == 10 and found["TCN", "", "search (s)"] == 4
    assert found["CalM", "GLU head, learning rate 0.001", DECODING_TRY] == 0.25
    assert found["TCN", "learning rate 0.01", DECODING_TRY] == 0.25


def test_classification_stands_beside_its_control(session):
    control = {"balanced accuracy": np.array([0.4, 0.5, 0.9]), "auc": np.array([0.5, 0.5, 0.5])}
    found = Classified({"balanced accuracy": 0.8, "auc": 0.9}, control, 12)
    scores = new_scores()
    scores.add_classified(session, ("CalM", "features"), "hit", found)
    rows = values(scores.table(), "variant")
    assert rows["features", "balanced accuracy hit"] == 0.8
    assert rows["features, shuffled labels", "balanced accuracy hit"] == pytest.approx(0.6)
    assert rows["features", "p of balanced accuracy hit"] == 0.5 and rows["features", "p of auc hit"] == 0.25
    assert (scores.table()["n"] == 12).all()
