"""From single tests to a verdict on a claim, and how many hold for what."""

import pandas as pd
import pytest

from calm.paper.claims.comparisons import FAILS, HOLDS, HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS, UNTESTED
from calm.paper.claims.table import BY_CONSTRUCTION, CLAIMS, COLUMNS, IN_PART, judge, verdict_of
from calm.paper.report.claims import claim_sections, missing, tally, verdict_table
from calm.paper.report.items import ITEMS


def claim_tests(number, notes, counts=None):
    """Tests of a claim with these notes."""
    rows = pd.DataFrame(index=range(len(notes)), columns=list(COLUMNS))
    shared = {"item": f"claim {number}", "dataset": "cohort", "metric": "corr", "method": "CalM over POCO"}
    shared |= {"group": "", "variant": "", "needs": ""}
    numbers = dict.fromkeys(("ours", "low", "high", "p", "p_sessions", "p_mice"), 0.1)
    return rows.assign(note=notes, counts=counts or [True] * len(notes), **shared, **numbers)


def test_there_are_the_18_claims_in_order_each_with_an_item_of_the_paper():
    assert [claim.number for claim in CLAIMS] == list(range(1, 19))
    assert {claim.item for claim in CLAIMS} <= {item.name for item in ITEMS}


@pytest.mark.parametrize(
    ("notes", "verdict"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, HOLDS_FOR_MICE], HOLDS_FOR_MICE),
        ([HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS, HOLDS], HOLDS_FOR_SESSIONS),
        ([HOLDS, FAILS], IN_PART),
        ([FAILS, FAILS], FAILS),
        ([HOLDS, UNTESTED], HOLDS),
        ([FAILS, UNTESTED], FAILS),
        ([UNTESTED], UNTESTED),
        ([], UNTESTED),
    ],
)
def test_a_claim_holds_as_far_as_the_weakest_of_its_tests(notes, verdict):
    assert verdict_of(CLAIMS[3], claim_tests(4, notes)) == verdict


def test_tests_beyond_a_claim_do_not_count():
    tests = claim_tests(2, [HOLDS] * 4 + [FAILS], [True] * 4 + [False])
    assert verdict_of(CLAIMS[1], tests) == HOLDS and tally(CLAIMS[1], tests) == ("4 of 4", "0 of 4")


def test_what_holds_in_general_what_holds_here_only_and_what_was_not_tested_are_counted_apart():
    notes = [HOLDS, HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS, FAILS, UNTESTED]
    assert tally(CLAIMS[3], claim_tests(4, notes)) == ("1 of 4, 1 not tested", "2 of 4")
    assert tally(CLAIMS[3], claim_tests(4, [UNTESTED])) == ("", "")


def test_a_property_of_the_construction_needs_no_test():
    assert verdict_of(CLAIMS[4], claim_tests(5, [])) == BY_CONSTRUCTION


def test_the_page_tells_every_claim_and_what_is_missing(tmp_path):
    tests = judge(tmp_path)
    assert len(verdict_table(tests).splitlines()) == 2 + 18
    assert "notebooks/01_simulation" in missing(CLAIMS[1], tmp_path)
    (tmp_path / "fig3b.csv").touch()
    assert "not all that a test needs" in missing(CLAIMS[1], tmp_path)
    text = "\n".join(claim_sections(claim_tests(2, [HOLDS, FAILS], [True, False]), tmp_path))
    assert "### Claim 2" in text and "| CalM over POCO " in text and "| (CalM over POCO) " in text
    needy = claim_tests(17, [UNTESTED]).assign(needs="5 sessions of each mouse", ours=float("nan"))
    assert "needs 5 sessions of each mouse." in "\n".join(claim_sections(needy, tmp_path))
