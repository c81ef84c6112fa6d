"""The paper's claims on the page, in Markdown: a table of verdicts, and the tests behind them."""

from pathlib import Path

import pandas as pd

from calm.paper.claims.comparisons import HOLDS, HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS, UNTESTED
from calm.paper.claims.table import BY_CONSTRUCTION, CLAIMS, Claim, tests_of, verdict_of
from calm.paper.report.items import ITEMS
from calm.paper.report.tables import dataset_name, dataset_names, digits, escape, markdown, method_names, value_text

SETTLED = (HOLDS, UNTESTED, BY_CONSTRUCTION)  # verdicts that leave nothing to explain


def has_section(claim: Claim, tests: pd.DataFrame) -> bool:
    """Whether there is something to tell of a claim: a reason, a test with a number, or what a test needs."""
    rows = tests_of(claim, tests)
    return bool(claim.construction) or bool(rows["ours"].notna().any() or rows["needs"].ne("").any())


def verdict_table(tests: pd.DataFrame) -> str:
    """All claims with their verdicts, as a table in Markdown."""
    rows = []
    for claim in CLAIMS:
        number, verdict = str(claim.number), verdict_of(claim, tests)
        general, only_here = tally(claim, tests)
        rows.append(
            {
                "claim": f"[{number}](#claim-{number})" if has_section(claim, tests) else number,
                "the paper says": f"{claim.statement} ({claim.section})",
                "tested on": dataset_names(tests_of(claim, tests).dropna(subset="ours")["dataset"]),
                "tests that hold in general": general,
                "hold only here": only_here,
                "verdict": verdict if verdict == UNTESTED else f"**{verdict}**",
            }
        )
    return markdown(pd.DataFrame(rows), markup=["claim", "verdict"])


def tally(claim: Claim, tests: pd.DataFrame) -> tuple[str, str]:
    """Of the tests that count: how many hold for mice or sessions like these, how many for these only (`1 of 4`)."""
    notes = tests_of(claim, tests).query("counts")["note"]
    tested = notes[notes != UNTESTED]
    if tested.empty:
        return "", ""
    untested = f", {len(notes) - len(tested)} not tested" if len(notes) > len(tested) else ""
    only_here = tested.isin([HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS]).sum()
    return f"{tested.eq(HOLDS).sum()} of {len(tested)}{untested}", f"{only_here} of {len(tested)}"


def claim_sections(tests: pd.DataFrame, folder: Path) -> list[str]:
    """Every claim with its tests; then those that have none, with what is missing."""
    parts, untold = [], []
    for claim in CLAIMS:
        if has_section(claim, tests):
            parts += claim_section(claim, tests)
        else:
            untold.append({"claim": str(claim.number), "why": missing(claim, folder)})
    if untold:
        parts += ["### Claims without a test here", markdown(pd.DataFrame(untold), markup=["why"])]
    return parts


def missing(claim: Claim, folder: Path) -> str:
    """Why a claim has no test."""
    item = next(each for each in ITEMS if each.name == claim.item)
    if (folder / f"{item.name}.csv").exists():
        return f"{item.label} is there, but not all that a test needs."
    return f"{item.label} was not computed: `notebooks/{item.notebook}` makes it."


def claim_section(claim: Claim, tests: pd.DataFrame) -> list[str]:
    """Heading, statement, verdict and tests of one claim."""
    verdict = verdict_of(claim, tests)
    statement = f"{claim.statement} ({claim.section})"
    parts = [f"### Claim {claim.number}", statement, f"**{verdict[0].upper()}{verdict[1:]}.**"]
    parts += [claim.explanation] if claim.explanation else []
    parts += [f"*Why not, most likely:* {claim.why}"] if claim.why and verdict not in SETTLED else []
    for (metric, dataset), rows in tests_of(claim, tests).groupby(["metric", "dataset"], sort=False):
        parts += [f"Effect: *{escape(metric)}*. Dataset: {escape(dataset_name(dataset))}.", tests_table(rows)]
        needed = rows.loc[rows["needs"].ne(""), "needs"].unique()
        parts += [f"What cannot be tested needs {'; '.join(map(escape, needed))}."] if len(needed) else []
    return parts


def tests_table(tests: pd.DataFrame) -> str:
    """Tests of one claim and metric; those that do not count are put in brackets."""
    names, places = pd.Series(method_names(tests), tests.index), digits(tests["ours"])
    effect, low, high = (tests[name].map(value_text, decimals=places) for name in ("ours", "low", "high"))
    shown = {
        "test": names.where(tests["counts"].eq(True), "(" + names + ")"),
        "effect": effect,
        "95 % interval": (low + " to " + high).where(tests["low"].notna(), ""),
        "p": tests["p"].map(p_text),
        "p (sessions)": tests["p_sessions"].map(p_text),
        "p (mice)": tests["p_mice"].map(p_text),
        "verdict": tests["note"],
    }
    return markdown(pd.DataFrame(shown), list(shown)[1:-1])


def p_text(p: float) -> str:
    """Two digits, or a bound where more would mean nothing."""
    return "" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.2g}"
