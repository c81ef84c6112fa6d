"""Statistics: sizes are found, levels are kept apart, and nothing is claimed without an error to estimate."""

import itertools
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from calm.paper.claims.statistics import (
    FEWEST_NEURONS,
    equality_test,
    fisher_interval,
    holm,
    level_test,
    means_of_mice,
    paired_test,
    permutation_p,
    proportion_interval,
)


def trials(values, sessions):
    """Differences of trials with their sessions."""
    index = pd.MultiIndex.from_arrays([sessions, range(len(sessions))], names=["session", "trial"])
    return pd.Series(values, index)


def sessions(values):
    return pd.Series(values, [f"s{index}" for index in range(len(values))])


def mice(count, each):
    """Whose each of `count * each` sessions is."""
    return {f"s{index}": f"mouse {index // each}" for index in range(count * each)}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_that_of_statsmodels(p_values):
    with mock.patch("gc.collect"):  # statsmodels collects garbage in every call, which takes longer than all the rest
        expected = multipletests(p_values, method="holm")[1]
    np.testing.assert_allclose(holm(p_values), expected)


def test_an_unknown_p_value_stays_so_and_the_others_are_corrected_among_themselves():
    np.testing.assert_allclose(holm([0.03, np.nan, 0.01]), [0.03, np.nan, 0.02])
    assert np.isnan(holm([np.nan])).all() and holm([]) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_paired_tests_are_symmetric_in_the_two_methods(seed, count):
    differences = trials(np.random.default_rng(seed).normal(0.1, 1, 12), [f"s{index % count}" for index in range(12)])
    forward, backward = paired_test(differences, {}), paired_test(-differences, {})
    assert forward.effect == pytest.approx(-backward.effect, abs=1e-6)
    assert forward.low == pytest.approx(-backward.high, abs=1e-4)
    assert forward.low <= forward.effect <= forward.high and 0 < forward.p <= 1
    assert forward.as_claimed != backward.as_claimed


def test_a_session_of_two_trials_counts_and_one_of_a_single_trial_does_not():
    whole = paired_test(trials([0.1, 0.3, 0.5, 0.9], ["a", "a", "b", "b"]), {})
    assert whole.effect == pytest.approx(0.45)
    assert paired_test(trials([0.1, 0.3, 0.5, 0.9, 7.0], ["a", "a", "b", "b", "c"]), {}).effect == whole.effect


def test_a_margin_changes_the_question_but_no_effect_and_no_interval():
    differences = trials([0.1, 0.3, 0.5, 0.9], ["a", "a", "b", "b"])
    plain, lenient = (paired_test(differences, {}, margin=margin) for margin in (0.0, 0.5))
    for name in ("effect", "low", "high"):
        assert getattr(lenient, name) == pytest.approx(getattr(plain, name))
    assert lenient.p_sessions < plain.p_sessions


@pytest.mark.parametrize("count", [FEWEST_NEURONS, 30])
def test_the_interval_of_a_correlation_is_scipys(count):
    first, second = np.random.default_rng(0).normal(size=(2, count))
    known = stats.pearsonr(first, second)
    np.testing.assert_allclose(fisher_interval(float(known.statistic), count), known.confidence_interval(0.95))
    assert np.isnan(fisher_interval(0.5, FEWEST_NEURONS - 1)).all()


def test_trials_of_few_sessions_do_not_make_a_claim_about_sessions():
    shifts = np.repeat([0.3, -0.1, 0.1], 200) + 0.05 * np.random.default_rng(0).normal(size=600)
    test = paired_test(trials(shifts, np.repeat(["a", "b", "c"], 200)), {})
    assert test.p < 0.001 and test.p_sessions > 0.3  # mean 0.1, but the sessions disagree


def test_sessions_of_few_mice_do_not_make_a_claim_about_mice():
    """Three mice that disagree, eight sessions each, would make a claim if sessions were independent."""
    rng = np.random.default_rng(0)
    of_sessions = np.repeat([0.3, -0.1, 0.1], 8) + 0.02 * rng.normal(size=24)
    values = np.repeat(of_sessions, 4) + 0.02 * rng.normal(size=96)
    test = paired_test(trials(values, np.repeat([f"s{index}" for index in range(24)], 4)), mice(3, 8))
    assert test.p_sessions < 0.05 and test.p_mice > 0.3
    assert test.low < -0.3 and test.high > 0.5  # the interval is that over mice


def test_false_alarms_about_mice_are_rare_where_those_about_sessions_are_not():
    rng, alarms = np.random.default_rng(0), []
    for _ in range(100):
        of_sessions = np.repeat(rng.normal(0, 0.1, 4), 6) + 0.02 * rng.normal(size=24)
        values = np.repeat(of_sessions, 2) + 0.01 * rng.normal(size=48)
        test = paired_test(trials(values, np.repeat([f"s{index}" for index in range(24)], 2)), mice(4, 6))
        alarms.append([test.p_sessions < 0.05, test.p_mice < 0.05])
    about_sessions, about_mice = np.sum(alarms, axis=0)
    assert about_mice <= 12 and about_sessions > 40  # 5 expected


def test_mice_are_tested_over_their_means_whatever_the_number_of_their_sessions():
    values, whose = sessions([1.0, 1.0, 1.0, 2.0, 4.0]), {"s0": "a", "s1": "a", "s2": "a", "s3": "b", "s4": "c"}
    assert means_of_mice(values, whose).tolist() == [1.0, 2.0, 4.0]
    differences = trials(np.repeat(values.to_numpy(), 2) + np.tile([0.1, -0.1], 5), np.repeat(values.index, 2))
    test, expected = paired_test(differences, whose), stats.ttest_1samp([1.0, 2.0, 4.0], 0)
    assert test.effect == pytest.approx(7 / 3) and test.p_mice == pytest.approx(expected.pvalue)
    assert (test.low, test.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


@pytest.mark.parametrize("whose", [{}, mice(2, 3), {"s0": "a", "s1": "b", "s2": "c"}])
def test_too_few_mice_or_unknown_ones_are_not_tested(whose):
    test = paired_test(
        trials(np.random.default_rng(0).normal(1, 0.1, 12), [f"s{index // 2}" for index in range(12)]), whose
    )
    assert np.isnan(test.p_mice) and test.p_sessions < 0.01


def test_every_session_weighs_the_same_however_many_trials_it_has():
    differences = np.array([0.5, 0.3, 0.4, -0.1, 0.02, -0.05, -0.1, 0.03])
    sizes = np.array([3, 3, 3, 5, 5, 5, 5, 5])
    signs = np.array(list(itertools.product([1, -1], repeat=8)))
    flipped = (signs * differences / sizes).sum(axis=1)  # twice the mean of two sessions
    p = 2 * min(np.mean(flipped >= flipped[0] - 1e-12), np.mean(flipped <= flipped[0] + 1e-12))
    test = paired_test(trials(differences, ["a"] * 3 + ["b"] * 5), {})
    assert test.p == pytest.approx(p) and test.effect == pytest.approx(flipped[0] / 2)


def test_nothing_is_claimed_without_an_error_to_estimate():
    assert paired_test(trials(np.zeros(10), ["a"] * 10), {}) is None
    assert paired_test(trials([0.1, 0.2], ["a", "b"]), {}) is None
    assert paired_test(trials([0.1, 0.2], ["a", "a"]), {}) is not None
    assert paired_test(trials([0.1, 0.2, 9.0], ["a", "a", "b"]), {}).effect == pytest.approx(0.15)  # b: a single trial


def test_a_level_and_equality_are_those_of_scipys_tests_over_sessions_and_over_mice():
    rng, margin = np.random.default_rng(0), 0.02
    one, other = sessions(rng.normal(0.97, 0.01, 8)), sessions(rng.normal(0.965, 0.02, 6))
    for whose, field in (({}, "p_sessions"), (mice(4, 2), "p_mice")):
        first, second = (means_of_mice(each, whose) if whose else each for each in (one, other))
        level = level_test(one, whose, 0.9)
        assert getattr(level, field) == pytest.approx(stats.ttest_1samp(first, 0.9, alternative="greater").pvalue)
        equal, welch = equality_test(one, other, whose, margin), stats.ttest_ind(first, second, equal_var=False)
        assert equal.effect == pytest.approx(first.mean() - second.mean())
        assert (equal.low, equal.high) == pytest.approx(tuple(welch.confidence_interval(0.95)))
        above = stats.ttest_ind(first + margin, second, equal_var=False, alternative="greater").pvalue
        below = stats.ttest_ind(first - margin, second, equal_var=False, alternative="less").pvalue
        assert getattr(equal, field) == pytest.approx(max(above, below))
        assert getattr(equality_test(other, one, whose, margin), field) == pytest.approx(getattr(equal, field))


@pytest.mark.parametrize(("values", "known"), [([0.95, 0.97], True), ([0.95], False), ([0.95, 0.95], False)])
def test_a_level_and_equality_need_two_sessions_that_differ(values, known):
    level, equal = level_test(sessions(values), {}, 0.9), equality_test(sessions(values), sessions(values), {}, 0.1)
    assert [np.isfinite(test.p_sessions) for test in (level, equal)] == [known] * 2
    assert (level.effect, equal.effect) == pytest.approx((np.mean(values), 0)) and level.as_claimed and equal.as_claimed


def test_the_interval_of_a_share_is_wilsons():
    low, high = stats.binomtest(30, 40).proportion_ci(0.95, method="wilson")
    assert proportion_interval(0.75, 40) == pytest.approx((low, high))


def test_groups_that_differ_by_the_margin_are_seldom_called_equal():
    rng = np.random.default_rng(0)
    alarms = [
        equality_test(sessions(rng.normal(0.97, 0.01, 12)), sessions(rng.normal(0.95, 0.01, 4)), {}, 0.02).p_sessions
        for _ in range(200)
    ]
    assert np.sum(np.array(alarms) < 0.05) <= 20  # 5 % of them, and chance


def test_permutation_p_counts_the_observed_draw():
    assert permutation_p(np.array([2.0, 0.0, 0.5, 1.0])) == 1 / 4
