"""`python -m calm.paper.report figures/<profile>[/<dataset>]` writes the report and prints its main results."""

import sys
from pathlib import Path

from calm.errors import CalmError, command
from calm.paper.claims.table import CLAIMS, verdict_of
from calm.paper.report.claims import tally
from calm.paper.report.page import Contents, main_scores, write_report
from calm.paper.report.tables import PAPER_DATASET, dataset_name, dataset_names, method_names, value_text

LONGEST = 44  # characters of a method's name


def print_summary(contents: Contents) -> None:
    """Print the main scores and the verdicts, in no more than 100 columns, and where the rest is."""
    rows = main_scores(contents.comparison)
    shown = rows[["item"]].assign(
        method=[name[:LONGEST] for name in method_names(rows)],
        metric=rows["metric"],
        paper=[value_text(value) or "-" for value in rows["paper"]],
        ours=[value_text(*each) or "-" for each in zip(rows["ours"], rows["sem"], strict=True)],
    )
    print(shown.to_string(index=False) if len(rows) else "Nothing was computed yet.")
    datasets = dataset_names(contents.comparison["dataset"].dropna())
    print(f"\npaper: {dataset_name(PAPER_DATASET)}; ours: {datasets or 'nothing yet'}\n")
    for claim in [] if contents.of_a_user else CLAIMS:
        general, only_here = tally(claim, contents.tests)
        tests = f" (in general {general}; only here {only_here})" if general else ""
        print(f"claim {claim.number:2}: {verdict_of(claim, contents.tests)}{tests}")
    print(f"\nAll figures, tables and tests: {contents.folder / 'report.html'} (and .md, .csv)")


def main(arguments: list[str]) -> None:
    """Command line; a user's mistake ends with one sentence and exit status 1."""
    with command():
        if len(arguments) != 1:
            raise CalmError("Call it as: python -m calm.paper.report figures/<profile>[/<dataset>]")
        folder = Path(arguments[0])
        if not any(folder.glob("*.csv")):
            raise CalmError(f"There are no results in {folder}: run snakemake, or a notebook, first.")
        print_summary(write_report(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
