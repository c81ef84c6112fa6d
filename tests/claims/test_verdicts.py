"""From single tests to a verdict on a claim."""

import numpy as np
import pandas as pd
import pytest
from report_cases import BETTER, trial_rows

from calm.paper.claims.claims import COLUMNS, FAILS, HOLDS, HOLDS_HERE, RIVALS, UNTESTED
from calm.paper.report import verdicts
from calm.paper.report.items import ITEMS
from calm.paper.report.verdicts import (
    BY_CONSTRUCTION,
    CLAIMS,
    IN_PART,
    judge_all,
    missing,
    on_items,
    tally,
    verdict_of,
)
from calm.paper.results import save_item


def claim_tests(number, notes, methods=None):
    """Tests of a claim with these notes."""
    rows = pd.DataFrame(index=range(len(notes)), columns=list(COLUMNS))
    names = methods or [f"test {index}" for index in range(len(notes))]
    shared = {"item": f"claim {number}", "dataset": "cohort", "split": "test", "variant": "", "metric": "corr"}
    return rows.assign(note=notes, method=names, **shared)


def test_there_are_the_18_claims_in_order_each_with_an_item_of_the_paper():
    assert [claim.number for claim in CLAIMS] == list(range(1, 19))
    assert {claim.item for claim in CLAIMS} <= {item.name for item in ITEMS}


@pytest.mark.parametrize(
    ("notes", "verdict"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, HOLDS_HERE], HOLDS_HERE),
        ([HOLDS, FAILS], IN_PART),
        ([FAILS, FAILS], FAILS),
        ([HOLDS, UNTESTED], HOLDS),
        ([FAILS, UNTESTED], FAILS),
        ([UNTESTED], UNTESTED),
        ([], UNTESTED),
    ],
)
def test_a_claim_holds_if_all_its_tests_do(notes, verdict):
    assert verdict_of(CLAIMS[3], claim_tests(4, notes)) == verdict


def test_only_methods_that_a_claim_names_count():
    methods = [f"CalM (greedy) over {name}" for name in (*RIVALS, "ridge VAR")]
    tests = claim_tests(2, [HOLDS] * 4 + [FAILS], methods)
    assert verdict_of(CLAIMS[1], tests) == HOLDS and tally(CLAIMS[1], tests) == "4 of 4"
    assert verdict_of(CLAIMS[3], tests.assign(item="claim 4")) == IN_PART


def test_a_verdict_with_a_remark_does_not_count():
    tests = claim_tests(4, [HOLDS, f"{FAILS} (excepted by the paper)"])
    assert verdict_of(CLAIMS[3], tests) == HOLDS and tally(CLAIMS[3], tests) == "1 of 1"


def test_what_was_not_tested_is_counted_apart():
    assert tally(CLAIMS[3], claim_tests(4, [HOLDS, FAILS, UNTESTED])) == "1 of 2, 1 not tested"
    assert tally(CLAIMS[3], claim_tests(4, [UNTESTED])) == ""


def test_a_property_of_the_construction_needs_no_test():
    assert verdict_of(CLAIMS[4], claim_tests(5, [])) == BY_CONSTRUCTION


def test_claims_are_judged_in_the_papers_order_whatever_that_of_the_judges(tmp_path, monkeypatch):
    save_item(tmp_path, "fig3b_trials", trial_rows(BETTER, 3), None, {})
    others = [lambda _: claim_tests(18, [FAILS, HOLDS]), lambda _: claim_tests(10, [HOLDS])]
    monkeypatch.setattr(verdicts, "JUDGES", (*others, *verdicts.JUDGES))
    tests = judge_all(tmp_path)
    assert list(dict.fromkeys(tests["item"])) == ["claim 2", "claim 10", "claim 18"]
    assert list(tests) == list(COLUMNS) and tests["ours"].dtype == float
    assert verdict_of(CLAIMS[17], tests) == IN_PART


def test_without_results_there_are_no_tests(tmp_path):
    assert judge_all(tmp_path).empty
    assert "notebooks/01_simulation" in missing(CLAIMS[1], tmp_path)
    (tmp_path / "fig3b.csv").touch()
    assert "nothing tests it" in missing(CLAIMS[1], tmp_path)


def test_a_judge_waits_for_all_its_items_and_reads_them_in_order(tmp_path):
    judge = on_items(lambda rows: rows[["item"]].drop_duplicates(), "table7", "table8")
    for item in ("table8", "table7"):
        assert judge(tmp_path) is None
        save_item(tmp_path, item, trial_rows(BETTER, 1, trials=2, item=item).drop(columns="trial").iloc[:1], None, {})
    np.testing.assert_array_equal(judge(tmp_path)["item"], ["table7", "table8"])
