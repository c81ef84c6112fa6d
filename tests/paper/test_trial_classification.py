"""Labels of trials from features: what is there is found, what is not is not, and the control tells which."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from calm.data.session import split_trials
from calm.errors import CalmError
from calm.paper.experiments.trial_classification import (
    classify_trials,
    compress,
    fit_classifier,
    trial_means,
    two_kinds,
)


def trials(difference, count=120, channels=5, rare=0.3, seed=0):
    """Features of which the first differs between the two kinds of trials."""
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < rare
    features = rng.normal(size=(count, channels))
    features[:, 0] += difference * labels
    return features, labels, split_trials(count, seed)


def test_a_label_that_the_features_hold_is_told_and_its_control_is_at_chance():
    found = classify_trials(*trials(5.0), permutations=19)
    assert found.scores["balanced accuracy"] >= 0.9 and found.scores["auc"] > 0.95
    assert found.p("auc") == found.p("balanced accuracy") == 1 / 20
    assert found.shuffled["auc"].mean() == pytest.approx(0.5, abs=0.15)
    assert found.trials == 18


def test_the_control_does_not_tell_a_label_that_rules_all_features():
    features, labels, splits = trials(1.0)
    found = classify_trials(features + 5.0 * labels[:, None], labels, splits, permutations=9)
    assert found.scores["auc"] == 1 and found.p("auc") == 0.1
    assert found.shuffled["auc"].max() < 0.9


def test_scale_and_offset_of_features_do_not_matter():
    features, labels, splits = trials(1.0)
    units = np.array([1e3, 1e-3, 1, 5, 0.1])
    one = classify_trials(features, labels, splits, permutations=2)
    two = classify_trials(features * units + 7, labels, splits, permutations=2)
    assert one.scores["auc"] == pytest.approx(two.scores["auc"], abs=1e-3)


def test_false_alarms_are_as_rare_as_the_p_value_says():
    values = [classify_trials(*trials(0.0, seed=seed), permutations=4).p("auc") for seed in range(12)]
    assert stats.binomtest(sum(value <= 0.2 for value in values), 12, 0.2).pvalue > 0.01


def test_more_features_than_trials_lose_nothing_in_the_space_of_the_trials():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(40, 300)), rng.random(40) < 0.5
    train, test = np.arange(30), np.arange(30, 40)
    inputs = compress(features, train)
    scaler = StandardScaler().fit(features[train])
    options = {"C": 0.01, "class_weight": "balanced", "tol": 1e-10, "max_iter": 10_000}
    whole = LogisticRegression(**options).fit(scaler.transform(features[train]), labels[train])
    small = LogisticRegression(**options).fit(inputs[train], labels[train])
    assert inputs.shape[1] == 30
    expected = whole.decision_function(scaler.transform(features[test]))
    np.testing.assert_allclose(small.decision_function(inputs[test]), expected, atol=1e-5)


def test_both_kinds_weigh_the_same_however_rare_one_is():
    features, labels, _ = trials(0.0, count=400, rare=0.1)
    model = fit_classifier(features, labels, 1.0)
    assert 0.3 < model.predict(features).mean() < 0.7


def test_test_labels_do_not_reach_the_classifier():
    features, labels, splits = trials(1.0)
    flipped = np.where(np.array(splits) == "test", ~labels, labels)
    one, two = (classify_trials(features, each, splits, permutations=3) for each in (labels, flipped))
    assert one.scores["auc"] == pytest.approx(1 - two.scores["auc"])


def test_trials_of_one_kind_are_refused():
    features, labels, splits = trials(1.0)
    for split in ("train", "test"):
        with pytest.raises(CalmError, match=f"{split} trials are all of one kind"):
            classify_trials(features, labels & (np.array(splits) != split), splits, permutations=1)
    with pytest.raises(CalmError, match="no validation trials"):
        classify_trials(features, labels, ["test" if each == "val" else each for each in splits], permutations=1)


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
