"""The claims about forecasts: differences are found with their size, and nothing is claimed without evidence."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_cases import BETTER, trial_rows

from calm.paper.claims.claims import (
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
        scores = {("CalM", "expected"): calm, ("CalM", "greedy"): 0.1, ("POCO", ""): poco}
        rows = trial_rows(scores, sessions=4, trials=40, seed=number, noise=0.01, item="fig3d_trials")
        tables.append(rows.assign(session=rows["session"] + group, group=group))
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
