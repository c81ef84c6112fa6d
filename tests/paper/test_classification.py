"""Classes told from embeddings and features: what is there is told, noise is at chance, nothing leaks."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from calm.data.preparation import split_trials
from calm.errors import CalmError
from calm.paper.claims.statistics import permutation_p
from calm.paper.experiments import classification
from calm.paper.experiments.classification import (
    NEURON,
    NEW_SESSION,
    SESSION,
    Classification,
    add_confusion,
    add_kinds,
    add_table9,
    classify_embeddings,
    classify_trials,
    compress,
    draw_neurons,
    predict_test,
    trial_means,
    two_kinds,
)
from calm.paper.results import Results, check


def sessions_of(classes, neurons=1, channels=6, apart=0.0, seed=0):
    """Embeddings, classes and sessions: one session for each of `classes`, which lie `apart` from each other."""
    rng = np.random.default_rng(seed)
    centres = dict(zip(sorted(set(classes)), np.eye(channels), strict=False))
    embeddings = [apart * centres[name] + 0.1 * rng.normal(size=(neurons, channels)) for name in classes]
    names = [f"s{index:02d}" for index in range(len(classes))]
    return np.concatenate(embeddings), pd.Series(np.repeat(classes, neurons)), pd.Series(np.repeat(names, neurons))


def p_of(draws):
    return permutation_p(draws.to_numpy())


def run(case, *, whole_sessions=True, draws=9, seed=0):
    return classify_embeddings(*case, whole_sessions=whole_sessions, draws=draws, seed=seed)


@pytest.mark.parametrize(("whole_sessions", "neurons"), [(True, 8), (False, 8), (True, 1)])
def test_classes_that_lie_apart_are_told_without_a_mistake(whole_sessions, neurons):
    told = run(sessions_of(["a", "b", "c"] * 6, neurons, apart=3.0), whole_sessions=whole_sessions)
    assert told.draws["accuracy"][0] == told.draws["balanced accuracy"][0] == 1
    assert told.note == "5 folds" and told.count == 18 * neurons
    assert told.predictions.value_counts(["true", "predicted"]).to_dict() == {(x, x): 6 * neurons for x in "abc"}
    assert p_of(told.draws["accuracy"]) == 1 / 10


@pytest.mark.parametrize("whole_sessions", [True, False])
def test_noise_is_told_as_well_as_by_chance(whole_sessions):
    accuracy = run(sessions_of(["a", "b"] * 10, neurons=20), whole_sessions=whole_sessions).draws["accuracy"]
    assert accuracy[0] == pytest.approx(0.5, abs=0.1) and accuracy[1:].mean() == pytest.approx(0.5, abs=0.07)
    assert p_of(accuracy) > 0.1


def test_whoever_knows_the_session_knows_its_mouse_unless_whole_sessions_are_left_out():
    embeddings, classes, names = sessions_of(["a", "b"] * 6, neurons=30, channels=24)
    places = np.random.default_rng(1).normal(size=(12, 24))  # each session has its own, whosever it is
    case = (embeddings + np.repeat(places, 30, axis=0), classes, names)
    leaking = run(case, whole_sessions=False, draws=4).draws["accuracy"]
    assert leaking[0] > 0.99 and p_of(leaking) > 0.5  # and so it does with shuffled classes
    assert run(case, draws=1).draws["accuracy"][0] < 0.8


def test_a_class_with_one_session_is_left_out_and_there_are_no_more_folds_than_members():
    told = run(sessions_of(["a"] * 6 + ["b"] * 3 + ["c"], apart=3.0))
    assert told.note == "3 folds, left out with a single member: c" and set(told.predictions["true"]) == {"a", "b"}
    assert told.count == 9
    assert set(told.predictions["session"]) == {f"s{index:02d}" for index in range(9)}
    few = run(sessions_of(["a", "b"] * 2))
    assert few.note == "2 folds" and np.isfinite(few.draws["accuracy"]).all()


def test_a_class_that_nothing_is_taken_for_has_a_column_of_zeros():
    results, predictions = Results("cohort", 0), pd.DataFrame({"true": ["a", "b"], "predicted": ["a", "a"]})
    add_confusion(results, "fig6a", predictions, {"method": "CalM"})
    assert results.table("fig6a")[["true", "predicted", "value", "n"]].to_numpy().tolist() == [
        ["a", "a", 1, 1],
        ["a", "b", 0, 1],
        ["b", "a", 1, 1],
        ["b", "b", 0, 1],
    ]


def test_too_few_classes_are_refused():
    with pytest.raises(CalmError, match="1 classes with two members"):
        run(sessions_of(["a"] * 5 + ["b"]))
    with pytest.raises(CalmError, match="0 classes"):
        run(sessions_of(["a", "b", "c"]))


def test_shuffles_deal_classes_out_among_sessions():
    _, classes, sessions = sessions_of(["a", "b", "c"] * 3, neurons=4)
    table = pd.DataFrame({"true": classes, "session": sessions})
    dealt = [each.groupby("session")["true"] for each in classification.shuffled_classes(table, 6, 0)]
    assert all((each.first() == each.last()).all() and (each.size() == 4).all() for each in dealt)
    assert all(sorted(each.first()) == sorted(["a", "b", "c"] * 3) for each in dealt)
    assert len({tuple(each.first()) for each in dealt}) == 6


def test_a_session_is_never_on_both_sides(monkeypatch):
    splits, real = [], classification.cross_val_predict
    monkeypatch.setattr(classification, "cross_val_predict", lambda *case, cv: splits.append(cv) or real(*case, cv=cv))
    case = sessions_of(["a", "b"] * 5, neurons=7)
    run(case, draws=2)
    assert len(splits) == 3
    for split in splits:
        assert all(not set(case[2][train]) & set(case[2][out]) for train, out in split)
        assert sorted(np.concatenate([out for _, out in split])) == list(range(70))


def test_too_many_neurons_are_thinned_out():
    assert draw_neurons(30, 0).tolist() == list(range(30))
    some = draw_neurons(3 * classification.MOST_NEURONS, 0)
    assert len(set(some)) == len(some) == classification.MOST_NEURONS and some.max() < 3 * classification.MOST_NEURONS


def test_results_are_those_of_table_9_and_the_confusion_of_sessions():
    told, results = run(sessions_of(["3", "4"] * 4, apart=1.0)), Results("cohort", 0)
    half = told.draws * 0 + 0.5
    add_table9(results, SESSION, "mouse", told)
    add_table9(results, NEURON, "mouse", dataclasses.replace(told, draws=half))
    add_table9(results, NEW_SESSION, "mouse", told)
    assert set(results.items) == {"table9", "table9_shuffles", "table9_predictions", "fig6a"}
    for item in results.items:
        check(results.table(item), item)
    accuracy = results.table("table9").query("metric == 'accuracy mouse'").set_index("variant")["value"]
    assert accuracy.to_dict() == {SESSION: 1.0, NEURON: 0.5, NEW_SESSION: 1.0}
    draws = results.table("table9_shuffles").query("variant == @SESSION")
    assert draws["draw"].tolist() == list(range(10)) and draws["value"].tolist() == told.draws["accuracy"].tolist()
    confusion = results.table("fig6a").pivot_table(index="true", columns="predicted", values="value")
    np.testing.assert_array_equal(confusion, 4 * np.eye(2))
    by_session = results.table("table9_predictions").query("variant == @SESSION")
    assert len(by_session) == 8 and (by_session["true"] == by_session["predicted"]).all()


# --- Trials


def trials(difference, count=120, channels=5, rare=0.3, seed=0):
    """Features of which the first differs between the two kinds of trials."""
    rng = np.random.default_rng(seed)
    classes = rng.random(count) < rare
    features = rng.normal(size=(count, channels))
    features[:, 0] += difference * classes
    return features, classes, split_trials(count, seed)


def test_kinds_that_the_features_hold_are_told_and_their_control_is_at_chance():
    told = classify_trials(*trials(5.0), draws=9)
    assert told.draws["balanced accuracy"][0] >= 0.9 and told.draws["auc"][0] > 0.95 and told.count == 18
    assert p_of(told.draws["auc"]) == p_of(told.draws["balanced accuracy"]) == 1 / 10
    assert told.draws["auc"][1:].mean() == pytest.approx(0.5, abs=0.2)
    noise = [p_of(classify_trials(*trials(0.0, seed=seed), draws=3).draws["auc"]) for seed in range(5)]
    assert np.mean(noise) > 0.4


def test_the_control_does_not_tell_a_kind_that_rules_all_features():
    features, classes, splits = trials(1.0)
    auc = classify_trials(features + 5.0 * classes[:, None], classes, splits, draws=4).draws["auc"]
    assert auc[0] == 1 and p_of(auc) == 0.2 and auc[1:].max() < 0.9


def test_scale_and_offset_of_features_do_not_matter():
    features, classes, splits = trials(1.0)
    units = np.array([1e3, 1e-3, 1, 5, 0.1])
    one, two = (classify_trials(each, classes, splits, draws=1) for each in (features, features * units + 7))
    assert one.draws["auc"][0] == pytest.approx(two.draws["auc"][0], abs=1e-3)


def test_results_stand_beside_their_control():
    told = Classification(pd.DataFrame({"true": [0] * 12}), pd.DataFrame({"auc": [0.8, 0.4, 0.5, 0.9]}))
    results = Results("cohort", 0)
    add_kinds(results, "fig4_kinds", "a", "CalM", "hit", told)
    values = results.table("fig4_kinds").set_index(["metric", "variant"])["value"]
    assert values["auc hit", ""] == 0.8 and values["auc hit", "shuffled labels"] == pytest.approx(0.6)
    assert values["p of auc hit", ""] == 0.5 and set(results.table("fig4_kinds")["n"]) == {12}


def test_more_features_than_trials_lose_nothing_in_the_space_of_the_trials():
    rng = np.random.default_rng(0)
    features, classes = rng.normal(size=(40, 300)), rng.random(40) < 0.5
    train, test = np.arange(30), np.arange(30, 40)
    inputs = compress(features, train)
    scaler = StandardScaler().fit(features[train])
    options = {"C": 0.01, "class_weight": "balanced", "tol": 1e-10, "max_iter": 10_000}
    whole = LogisticRegression(**options).fit(scaler.transform(features[train]), classes[train])
    small = LogisticRegression(**options).fit(inputs[train], classes[train])
    assert inputs.shape[1] == 30
    expected = whole.decision_function(scaler.transform(features[test]))
    np.testing.assert_allclose(small.decision_function(inputs[test]), expected, atol=1e-5)


def test_both_kinds_weigh_the_same_however_rare_one_is():
    features, classes, splits = trials(0.0, count=800, rare=0.1)
    members = {split: np.flatnonzero(np.array(splits) == split) for split in ("train", "val", "test")}
    assert 0.3 < predict_test(features, classes, members)["predicted"].mean() < 0.7


def test_test_classes_do_not_reach_the_classifier():
    features, classes, splits = trials(1.0)
    flipped = np.where(np.array(splits) == "test", ~classes, classes)
    one, two = (classify_trials(features, each, splits, draws=1) for each in (classes, flipped))
    assert one.draws["auc"][0] == pytest.approx(1 - two.draws["auc"][0])


def test_trials_of_one_kind_are_refused():
    features, classes, splits = trials(1.0)
    for split in ("train", "test"):
        with pytest.raises(CalmError, match="must be of both kinds"):
            classify_trials(features, classes & (np.array(splits) != split), splits, draws=1)
    with pytest.raises(CalmError, match="there must be validation trials"):
        classify_trials(features, classes, ["test" if each == "val" else each for each in splits], draws=1)


def test_two_kinds_are_named_or_found():
    values = pd.Series(["hit", "miss", "hit", "false alarm"], name="outcome")
    first, either = two_kinds(values, ["hit", "miss"])
    assert first.tolist() == [True, False, True, False] and either.tolist() == [True, True, True, False]
    first, either = two_kinds(pd.Series([True, False, True]), [])
    assert first.tolist() == [True, False, True] and either.all()
    for kinds in ([], ["hit"], ["hit", "nap"]):
        with pytest.raises(CalmError, match="`outcome` has hit, miss, false alarm: name two of them"):
            two_kinds(values, kinds)


def test_means_of_a_trial_are_those_of_each_channel_of_each_neuron():
    features = [np.arange(12.0).reshape(2, 3, 2), np.zeros((5, 3, 2))]
    np.testing.assert_array_equal(trial_means(features), [[3, 4, 5, 6, 7, 8], [0] * 6])
