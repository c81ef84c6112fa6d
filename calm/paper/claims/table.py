"""The paper's 18 claims (`claims.yaml`) judged on the results tables of a folder."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from calm.paper.claims.ablations import helps
from calm.paper.claims.comparisons import (
    FAILS,
    HOLDS,
    HOLDS_FOR_MICE,
    HOLDS_FOR_SESSIONS,
    UNTESTED,
    Comparison,
    Tables,
    above,
    correct,
    faithful,
    methods,
)
from calm.paper.claims.embeddings import attributes, right_angle, tuning

IN_PART, BY_CONSTRUCTION = "holds in part", "holds by construction"
COMPARISONS = {each.__name__: each for each in (methods, above, faithful, helps, tuning, right_angle, attributes)}
NUMBERS = ("ours", "low", "high", "p", "p_sessions", "p_mice")
COLUMNS = ("item", "dataset", "group", "variant", "metric", "method", *NUMBERS, "counts", "note", "needs")


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the paper; its fields are described in `claims.yaml`."""

    number: int
    statement: str
    section: str
    item: str
    tests: Sequence[Mapping[str, Any]] = ()
    about_mice: bool = False
    how: str = ""
    construction: str = ""
    why: str = ""

    @property
    def name(self) -> str:
        """As the column `item` of its tests says."""
        return f"claim {self.number}"

    @property
    def explanation(self) -> str:
        """What a reader has to know, with the margins of its tests."""
        return self.construction or self.how.format_map(collections.ChainMap(*map(dict, self.tests)))

    def compare(self, tables: Tables) -> list[Comparison]:
        """The comparisons of all its tests, corrected in each test by itself."""
        mice, compared = tables.mice if self.about_mice else {}, []
        for test in self.tests:
            arguments = {name: value for name, value in test.items() if name != "compare"}
            compared += correct(COMPARISONS[test["compare"]](tables, mice, **arguments))
        return compared


TEXTS = (resources.files("calm.paper.claims") / "claims.yaml").read_text(encoding="utf-8")
CLAIMS = tuple(Claim(number, **fields) for number, fields in enumerate(yaml.safe_load(TEXTS), start=1))


def judge(folder: Path, claims: Sequence[int] = ()) -> pd.DataFrame:
    """The tests of the claims (by number; all if none is named) on the results tables of a folder.

    Returns:
        A row for each test, in the paper's order, with COLUMNS: `ours` is the effect, `low` and `high` its 95 %
        interval, p values as of `calm.paper.claims.statistics.Evidence` after Holm; `counts` is whether the claim
        depends on the test, `note` its verdict, `needs` what it would take to have one.
    """
    tables, rows = Tables(folder), []
    for claim in CLAIMS:
        if not claims or claim.number in claims:
            tests = sorted(claim.compare(tables), key=lambda test: not test.counts)
            rows += [row(claim, test) for test in tests]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(NUMBERS, float))


def row(claim: Claim, test: Comparison) -> dict[str, Any]:
    """A test in the columns of `judge`."""
    numbers = dataclasses.asdict(test.evidence) if test.evidence else {}
    note = test.verdict(about_mice=claim.about_mice)
    return {**vars(test), **numbers, "ours": numbers.get("effect"), "item": claim.name, "note": note}


def verdicts(folder: Path, claims: Sequence[int]) -> pd.DataFrame:
    """What notebooks show: the tests of some claims, as the report has them, with rounded numbers."""
    shown = ["item", "group", "variant", "method", "ours", "low", "high", "p", "p_sessions", "p_mice", "note", "needs"]
    tests = judge(folder, claims)[shown]
    return tests.loc[:, tests.notna().any() & tests.ne("").any()].round(4)


def tests_of(claim: Claim, tests: pd.DataFrame) -> pd.DataFrame:
    """The tests of one claim."""
    return tests[tests["item"] == claim.name]


def verdict_of(claim: Claim, tests: pd.DataFrame) -> str:
    """One verdict from those of the tests that count; tests that could not be made have no say."""
    if claim.construction:
        return BY_CONSTRUCTION
    notes = tests_of(claim, tests).query("counts")["note"]
    notes = notes[notes != UNTESTED]
    if notes.empty:
        return UNTESTED
    if (notes == FAILS).any():
        return FAILS if (notes == FAILS).all() else IN_PART
    return max(notes, key=[HOLDS, HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS].index)
