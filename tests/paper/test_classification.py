"""Mouse, area and layer from embeddings: 1 where classes lie apart, chance where they do not, no crash with few."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from calm.errors import CalmError
from calm.paper.claims.statistics import permutation_p
from calm.paper.embeddings import classification
from calm.paper.embeddings.classification import classify, draw_neurons
from calm.paper.embeddings.label_scores import NEURON, NEW_SESSION, SESSION, LabelScores
from calm.paper.results import check


def sessions_of(labels, neurons=1, channels=6, apart=0.0, seed=0):
    """Embeddings, labels and sessions: one session for each of `labels`, whose classes lie `apart` from each other."""
    rng = np.random.default_rng(seed)
    centres = {label: centre for label, centre in zip(sorted(set(labels)), np.eye(channels), strict=False)}
    embeddings = np.concatenate(
        [apart * centres[label] + 0.1 * rng.normal(size=(neurons, channels)) for label in labels]
    )
    names = [f"s{index:02d}" for index in range(len(labels))]
    return embeddings, pd.Series(np.repeat(labels, neurons)), pd.Series(np.repeat(names, neurons))


def run(given, *, whole_sessions=True, draws=19, seed=0):
    return classify(*given, whole_sessions=whole_sessions, draws=draws, seed=seed)


@pytest.mark.parametrize("whole_sessions", [True, False])
@pytest.mark.parametrize("neurons", [1, 20])
def test_classes_that_lie_apart_are_told_without_a_mistake(whole_sessions, neurons):
    found = run(sessions_of(["a", "b", "c"] * 6, neurons, apart=3.0), whole_sessions=whole_sessions)
    assert found.accuracy == found.balanced == 1 and found.majority == pytest.approx(1 / 3)
    np.testing.assert_array_equal(found.confusion, np.eye(3, dtype=int) * 6 * neurons)
    assert found.folds == 5 and found.left_out == ()
    assert permutation_p(np.append(found.accuracy, found.shuffled)) == 1 / 20


@pytest.mark.parametrize("whole_sessions", [True, False])
def test_noise_is_told_as_well_as_by_chance(whole_sessions):
    found = run(sessions_of(["a", "b"] * 10, neurons=40), whole_sessions=whole_sessions)
    assert found.accuracy == pytest.approx(0.5, abs=0.08)
    assert found.shuffled.mean() == pytest.approx(0.5, abs=0.05)
    assert permutation_p(np.append(found.accuracy, found.shuffled)) > 0.05


def test_whoever_knows_the_session_knows_its_mouse_unless_whole_sessions_are_left_out():
    embeddings, labels, names = sessions_of(["a", "b"] * 6, neurons=30, channels=24)
    own = np.random.default_rng(1).normal(size=(12, 24))  # each session has its own place, whosever it is
    embeddings = embeddings + np.repeat(own, 30, axis=0)
    leaking = run((embeddings, labels, names), whole_sessions=False)
    assert leaking.accuracy > 0.99
    assert permutation_p(np.append(leaking.accuracy, leaking.shuffled)) > 0.5  # and so it does with shuffled labels
    assert run((embeddings, labels, names), draws=0).accuracy < 0.8


def test_a_class_with_one_session_is_left_out_and_there_are_no_more_folds_than_members():
    given = sessions_of(["a"] * 6 + ["b"] * 3 + ["c"], apart=3.0)
    found = run(given)
    assert found.classes == ("a", "b") and found.left_out == ("c",) and found.folds == 3
    assert found.count == 9 and found.majority == 2 / 3
    assert found.note == "3 folds, left out with a single member: c"
    assert set(found.counts["session"]) == {f"s{index:02d}" for index in range(9)}


def test_too_few_classes_are_refused():
    with pytest.raises(CalmError, match="1 classes with two members"):
        run(sessions_of(["a"] * 5 + ["b"]))
    with pytest.raises(CalmError, match="0 classes"):
        run(sessions_of(["a", "b", "c"]))


def test_nothing_breaks_with_two_sessions_of_each_class():
    found = run(sessions_of(["a", "b"] * 2), draws=9)
    assert found.folds == 2 and np.isfinite(found.shuffled).all()


def test_shuffles_deal_labels_out_among_sessions(monkeypatch):
    seen, real = [], classification.predict_left_out

    def spy(features, table, seed):
        seen.append(table)
        return real(features, table, seed)

    monkeypatch.setattr(classification, "predict_left_out", spy)
    run(sessions_of(["a", "b", "c"] * 3, neurons=4), draws=6)
    shuffled = seen[1:]
    owners = [table.groupby("session")["label"].agg(["first", "nunique"]) for table in shuffled]
    assert all((each["nunique"] == 1).all() for each in owners)
    assert all(sorted(each["first"]) == sorted(["a", "b", "c"] * 3) for each in owners)
    assert len({tuple(each["first"]) for each in owners}) == 6


def test_a_session_is_never_on_both_sides(monkeypatch):
    splits = []
    real = classification.cross_val_predict
    monkeypatch.setattr(
        classification, "cross_val_predict", lambda *given, cv: splits.append(cv) or real(*given, cv=cv)
    )
    given = sessions_of(["a", "b"] * 5, neurons=7)
    run(given, draws=2)
    for split in splits:
        assert all(not set(given[2][train]) & set(given[2][out]) for train, out in split)
        assert sorted(np.concatenate([out for _, out in split])) == list(range(70))


def test_too_many_neurons_are_thinned_out():
    assert draw_neurons(30, 0).tolist() == list(range(30))
    some = draw_neurons(3 * classification.MOST_NEURONS, 0)
    assert len(set(some)) == len(some) == classification.MOST_NEURONS and some.max() < 3 * classification.MOST_NEURONS


def test_rows_are_those_of_table_9_and_the_confusion_of_sessions():
    found = run(sessions_of(["3", "4"] * 4, neurons=1, apart=1.0))
    scores = LabelScores("cohort", seed=0)
    scores.add(SESSION, "mouse", found)
    scores.add(NEURON, "mouse", dataclasses.replace(found, accuracy=0.5))
    scores.add(NEW_SESSION, "mouse", found)
    tables = scores.tables()
    assert set(tables) == {"table9", "table9_shuffles", "table9_predictions", "fig6a"}
    for item, rows in tables.items():
        check(rows, item)
    accuracy = tables["table9"].query("metric == 'accuracy mouse'").set_index("variant")["value"]
    assert accuracy.to_dict() == {SESSION: 1.0, NEURON: 0.5, NEW_SESSION: 1.0}
    draws = tables["table9_shuffles"].query("variant == @SESSION")
    assert draws["draw"].tolist() == list(range(20)) and draws["value"].iloc[0] == 1
    confusion = tables["fig6a"].pivot_table(index="true", columns="predicted", values="value")
    pd.testing.assert_frame_equal(confusion, pd.DataFrame(4 * np.eye(2), confusion.index, confusion.columns))
    by_session = tables["table9_predictions"].query("variant == @SESSION")
    assert len(by_session) == 8 and (by_session["true"] == by_session["predicted"]).all()
