"""The paper's claims on the page, in Markdown: a table of verdicts, and the tests behind them."""

from pathlib import Path

import pandas as pd

from calm.paper.claims.claims import UNTESTED
from calm.paper.report.tables import dataset_name, dataset_names, digits, escape, markdown, method_names, value_text
from calm.paper.report.verdicts import CLAIMS, Claim, counting, missing, tally, tests_of, verdict_of
from calm.paper.report.web import slug

HOW = (
    "Effect: the number named in the line above a table, with its 95 % interval. p: about these very sessions;"
    " p (sessions): about sessions like them; both corrected over the tests of a claim. A test *holds* if the effect is"
    " as claimed and significant about sessions, and *holds for these sessions* if it is for these only. A claim holds"
    " if all its tests do, and *in part* if some do. Tests in brackets are beyond the claim and do not count."
)


def heading(claim: Claim) -> str:
    """Of the claim's section."""
    return f"Claim {claim.number}"


def has_section(claim: Claim, tests: pd.DataFrame) -> bool:
    """Whether there is something to tell of a claim: a reason, or a test with a number."""
    return bool(claim.construction) or not made(claim, tests).empty


def made(claim: Claim, tests: pd.DataFrame) -> pd.DataFrame:
    """The tests of a claim that have a number."""
    return tests_of(claim, tests).dropna(subset="ours")


def verdict_table(tests: pd.DataFrame) -> str:
    """All claims with their verdicts, as a table in Markdown."""
    links = {
        claim.number: f"[{claim.number}](#{slug(heading(claim))})" for claim in CLAIMS if has_section(claim, tests)
    }
    rows = {
        "claim": [links.get(claim.number, str(claim.number)) for claim in CLAIMS],
        "the paper says": [f"{claim.statement} ({claim.section})" for claim in CLAIMS],
        "tested on": [dataset_names(made(claim, tests)["dataset"]) for claim in CLAIMS],
        "tests that hold": [tally(claim, tests) for claim in CLAIMS],
        "verdict": [marked(verdict_of(claim, tests)) for claim in CLAIMS],
    }
    return markdown(pd.DataFrame(rows), markup=["claim", "verdict"])


def marked(verdict: str) -> str:
    """Bold where there is something to say."""
    return verdict if verdict == UNTESTED else f"**{verdict}**"


def claims_section(tests: pd.DataFrame, folder: Path) -> list[str]:
    """Every claim with its tests; then those that have none, with what is missing."""
    tested = [claim for claim in CLAIMS if has_section(claim, tests)]
    others = [claim for claim in CLAIMS if claim not in tested]
    parts = ["## The claims, test by test", HOW, *(part for claim in tested for part in claim_part(claim, tests))]
    if others:
        reasons = {
            "claim": [str(claim.number) for claim in others],
            "why": [missing(claim, folder) for claim in others],
        }
        parts += ["### Claims without a test here", markdown(pd.DataFrame(reasons), markup=["why"])]
    return parts


def claim_part(claim: Claim, tests: pd.DataFrame) -> list[str]:
    """Heading, statement, verdict and tests of one claim."""
    verdict, own = verdict_of(claim, tests), tests_of(claim, tests)
    parts = [f"### {heading(claim)}", f"{claim.statement} ({claim.section})", f"**{verdict[0].upper()}{verdict[1:]}.**"]
    if claim.construction:
        return [*parts, claim.construction]
    counted = pd.Series(own.index.isin(counting(claim, tests).index), own.index)
    parts += [claim.how] if claim.how else []
    for (metric, dataset), same in own.groupby(["metric", "dataset"], sort=False):
        parts += [
            f"Effect: *{escape(metric)}*. Dataset: {escape(dataset_name(dataset))}.",
            tests_table(same, counted[same.index]),
        ]
    return parts


def tests_table(tests: pd.DataFrame, counted: pd.Series) -> str:
    """Tests of one claim and metric; those that do not count are put in brackets."""
    places = digits(tests["ours"])
    names = [name if counts else f"({name})" for name, counts in zip(method_names(tests), counted, strict=True)]
    shown = {
        "test": names,
        "effect": [value_text(value, decimals=places) for value in tests["ours"]],
        "95 % interval": [
            "" if pd.isna(low) else f"{value_text(low, decimals=places)} to {value_text(high, decimals=places)}"
            for low, high in zip(tests["low"], tests["high"], strict=True)
        ],
        "p": [p_text(p) for p in tests["p"]],
        "p (sessions)": [p_text(p) for p in tests["p_sessions"]],
        "verdict": list(tests["note"]),
    }
    return markdown(pd.DataFrame(shown), ["effect", "95 % interval", "p", "p (sessions)"])


def p_text(p: float) -> str:
    """Two digits, or a bound where more would mean nothing."""
    return "" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.2g}"
