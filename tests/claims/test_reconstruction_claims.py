"""Claim 1: equality is shown, not assumed, and faithfulness has a level."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from calm.paper.claims.claims import FAILS, HOLDS, HOLDS_HERE, UNTESTED, judge_claim_2
from calm.paper.claims.reconstruction_claims import FAITHFUL, MARGIN, judge_claim_1
from calm.paper.results import Row, table


def rows_of(held_in, held_out, split="test", metric="corr"):
    """One row a session."""
    fixed = {
        "item": "fig1b",
        "dataset": "cohort",
        "split": split,
        "method": "CalM",
        "metric": metric,
        "n": 9,
        "seed": 0,
    }
    groups = {"held-in": held_in, "held-out": held_out}
    return table(
        [
            Row(session=f"{group} {number}", variant="", group=group, value=float(value), **fixed)
            for group, values in groups.items()
            for number, value in enumerate(values)
        ]
    )


def verdicts(held_in, held_out):
    return judge_claim_1(rows_of(held_in, held_out))["note"].tolist()


def around(level, sessions, spread=0.005, seed=0):
    """Values with exactly this mean."""
    noise = np.random.default_rng(seed).normal(0, spread, sessions)
    return level + noise - noise.mean()


def test_columns_are_those_of_the_other_claims():
    claim = judge_claim_1(rows_of(around(0.98, 12), around(0.98, 4)))
    trials = rows_of([0.5, 0.6], []).assign(dataset="simulation", trial=[0, 1])
    assert list(claim) == list(judge_claim_2(trials))
    assert set(claim["item"]) == {"claim 1"} and set(claim["dataset"]) == {"cohort"} and len(claim) == 3


@pytest.mark.parametrize(
    ("held_in", "held_out", "expected"),
    [
        (around(0.98, 12), around(0.975, 4), [HOLDS, HOLDS, HOLDS]),
        (around(0.98, 12), around(0.95, 4), [HOLDS, HOLDS, FAILS]),
        (around(0.95, 12), around(0.98, 4), [HOLDS, HOLDS, FAILS]),  # better is not equal either
        (around(0.70, 12), around(0.70, 4), [FAILS, FAILS, HOLDS]),
        (around(0.91, 12, 0.05), around(0.91, 3, 0.05), [HOLDS_HERE, HOLDS_HERE, HOLDS_HERE]),
    ],
)
def test_levels_and_differences_are_judged_apart(held_in, held_out, expected):
    assert verdicts(held_in, held_out) == expected


def test_too_few_sessions_never_show_that_groups_are_equal():
    assert verdicts([0.98], [0.98]) == [HOLDS_HERE, HOLDS_HERE, HOLDS_HERE]
    assert verdicts([0.98, 0.97], [0.5]) == [HOLDS, FAILS, FAILS]
    claim = judge_claim_1(rows_of([0.98], [0.98]))
    assert claim[["low", "high", "p", "p_sessions"]].isna().all().all()


def test_without_held_out_sessions_equality_cannot_be_tested():
    assert verdicts(around(0.98, 5), []) == [HOLDS, UNTESTED, UNTESTED]


def test_the_numbers_are_those_of_welchs_test_and_of_two_one_sided_tests():
    held_in, held_out = around(0.97, 9, 0.01), around(0.965, 5, 0.02, seed=1)
    claim = judge_claim_1(rows_of(held_in, held_out)).iloc[2]
    welch = stats.ttest_ind(held_out, held_in, equal_var=False)
    assert claim["ours"] == pytest.approx(-0.005)
    assert (claim["low"], claim["high"]) == pytest.approx(tuple(welch.confidence_interval(0.95)))
    above = stats.ttest_ind(held_out + MARGIN, held_in, equal_var=False, alternative="greater").pvalue
    below = stats.ttest_ind(held_out - MARGIN, held_in, equal_var=False, alternative="less").pvalue
    assert claim["p_sessions"] == pytest.approx(max(above, below))
    level = judge_claim_1(rows_of(held_in, held_out)).iloc[1]
    assert level["p_sessions"] == pytest.approx(stats.ttest_1samp(held_out, FAITHFUL, alternative="greater").pvalue)


def test_groups_that_differ_by_the_margin_are_seldom_called_equal():
    rng, found = np.random.default_rng(0), 0
    for _ in range(200):
        held_in, held_out = rng.normal(0.97, 0.01, 12), rng.normal(0.97 - MARGIN, 0.01, 4)
        found += verdicts(held_in, held_out)[2] == HOLDS
    assert found <= 20  # 5 % of them, and chance


def test_only_test_trials_and_correlations_count():
    rows = rows_of(around(0.98, 12), around(0.98, 4))
    other = [rows_of([0.1, 0.2], [0.3, 0.4], split="train"), rows_of([5, 6], [7, 8], metric="mse")]
    assert judge_claim_1(pd.concat([rows, *other], ignore_index=True)).equals(judge_claim_1(rows))
