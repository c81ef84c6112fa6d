"""The report in a terminal: the main scores, paper beside ours, and the verdicts."""

import pandas as pd

from calm.paper.report.folder import Results
from calm.paper.report.items import ITEMS
from calm.paper.report.tables import PAPER_DATASET, dataset_name, method_names, number
from calm.paper.report.verdicts import CLAIMS, tally, verdict_of

MAIN = "corr"  # metric worth a line even where the paper gives no number
LONGEST = 44  # characters of a method's name


def main_scores(comparison: pd.DataFrame) -> pd.DataFrame:
    """Test scores of methods: correlations, and whatever the paper gives a number for."""
    rows = comparison[~comparison["split"].isin(["train", "val"])]
    rows = rows[rows["item"].isin([item.name for item in ITEMS if item.scored])]
    groups = rows.groupby(["item", "metric"])
    given, computed = groups["paper"].transform("count") > 0, groups["ours"].transform("count") > 0
    return rows[computed & (given | (rows["metric"] == MAIN))]


def score_lines(comparison: pd.DataFrame) -> str:
    """A line for each main score."""
    rows = main_scores(comparison)
    shown = {
        "item": rows["item"],
        "method": [name[:LONGEST] for name in method_names(rows)],
        "metric": rows["metric"],
        "paper": [number(value) or "-" for value in rows["paper"]],
        "ours": [number(*pair) or "-" for pair in zip(rows["ours"], rows["sem"], strict=True)],
    }
    return pd.DataFrame(shown).to_string(index=False) if len(rows) else "Nothing was computed yet."


def print_summary(results: Results) -> None:
    """Print the main scores and the verdicts, in no more than 100 columns, and where the rest is."""
    print(score_lines(results.comparison))
    datasets = ", ".join(map(dataset_name, results.comparison["dataset"].dropna().unique()))
    print(f"\npaper: {dataset_name(PAPER_DATASET)}; ours: {datasets or 'nothing yet'}\n")
    for claim in CLAIMS:
        verdict, tests = verdict_of(claim, results.tests), tally(claim, results.tests)
        print(f"claim {claim.number:2}: {verdict}{f' ({tests})' if tests else ''}")
    print(f"\nAll figures, tables and tests: {results.folder / 'report.html'} (and .pdf, .md, .csv)")
