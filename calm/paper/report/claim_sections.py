"""The paper's claims on the page, in Markdown: a table of verdicts, and the tests behind them."""

from pathlib import Path

import pandas as pd

from calm.paper.claims.comparisons import HOLDS, HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS, UNTESTED
from calm.paper.claims.table import CLAIMS, Claim, tests_of, verdict_of
from calm.paper.report.items import ITEMS
from calm.paper.report.tables import dataset_name, dataset_names, digits, escape, markdown, method_names, value_text
from calm.paper.report.web import slug

HOW = (
    "Effect: the number named in the line above a table, with its 95 % interval. p: about these very sessions;"
    " p (sessions): about other sessions of these mice; p (mice): about other mice, from means of mice, where there are"
    " three or more. All are corrected (Holm) over the tests of one kind within a claim. A test *holds* if the effect"
    " is as claimed and significant about mice, or about sessions where the claim is not about mice; it *holds for"
    " these mice* if it is significant about sessions of theirs, and *for these sessions* if it is for these only. A"
    " claim holds as far as the weakest of its tests, and *in part* if some do not hold. Tests in brackets are beyond"
    " the claim and do not count."
)


def heading(claim: Claim) -> str:
    """Of the claim's section."""
    return f"Claim {claim.number}"


def has_section(claim: Claim, tests: pd.DataFrame) -> bool:
    """Whether there is something to tell of a claim: a reason, a test with a number, or what a test needs."""
    own = tests_of(claim, tests)
    return bool(claim.construction) or bool(own["ours"].notna().any() or own["needs"].ne("").any())


def verdict_table(tests: pd.DataFrame) -> str:
    """All claims with their verdicts, as a table in Markdown."""
    names = [
        f"[{claim.number}](#{slug(heading(claim))})" if has_section(claim, tests) else str(claim.number)
        for claim in CLAIMS
    ]
    verdicts = [verdict_of(claim, tests) for claim in CLAIMS]
    general, only_here = zip(*(tally(claim, tests) for claim in CLAIMS), strict=True)
    rows = {
        "claim": names,
        "the paper says": [f"{claim.statement} ({claim.section})" for claim in CLAIMS],
        "tested on": [dataset_names(tests_of(claim, tests).dropna(subset="ours")["dataset"]) for claim in CLAIMS],
        "tests that hold in general": general,
        "hold only here": only_here,
        "verdict": [verdict if verdict == UNTESTED else f"**{verdict}**" for verdict in verdicts],
    }
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


def claims_section(tests: pd.DataFrame, folder: Path) -> list[str]:
    """Every claim with its tests; then those that have none, with what is missing."""
    told = [claim for claim in CLAIMS if has_section(claim, tests)]
    others = [claim for claim in CLAIMS if claim not in told]
    parts = ["## The claims, test by test", HOW, *(part for claim in told for part in claim_section(claim, tests))]
    if others:
        reasons = {
            "claim": [str(claim.number) for claim in others],
            "why": [missing(claim, folder) for claim in others],
        }
        parts += ["### Claims without a test here", markdown(pd.DataFrame(reasons), markup=["why"])]
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
    parts = [f"### {heading(claim)}", f"{claim.statement} ({claim.section})", f"**{verdict[0].upper()}{verdict[1:]}.**"]
    parts += [claim.explanation] if claim.explanation else []
    for (metric, dataset), rows in tests_of(claim, tests).groupby(["metric", "dataset"], sort=False):
        parts += [f"Effect: *{escape(metric)}*. Dataset: {escape(dataset_name(dataset))}.", tests_table(rows)]
        needed = rows.loc[rows["needs"].ne(""), "needs"].unique()
        parts += [f"What cannot be tested needs {'; '.join(map(escape, needed))}."] if len(needed) else []
    return parts


def tests_table(tests: pd.DataFrame) -> str:
    """Tests of one claim and metric; those that do not count are put in brackets."""
    places = digits(tests["ours"])
    shown = {
        "test": [
            name if counts else f"({name})" for name, counts in zip(method_names(tests), tests["counts"], strict=True)
        ],
        "effect": [value_text(value, decimals=places) for value in tests["ours"]],
        "95 % interval": [
            "" if pd.isna(low) else f"{value_text(low, decimals=places)} to {value_text(high, decimals=places)}"
            for low, high in zip(tests["low"], tests["high"], strict=True)
        ],
        "p": [p_text(p) for p in tests["p"]],
        "p (sessions)": [p_text(p) for p in tests["p_sessions"]],
        "p (mice)": [p_text(p) for p in tests["p_mice"]],
        "verdict": list(tests["note"]),
    }
    return markdown(pd.DataFrame(shown), ["effect", "95 % interval", "p", "p (sessions)", "p (mice)"])


def p_text(p: float) -> str:
    """Two digits, or a bound where more would mean nothing."""
    return "" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.2g}"
