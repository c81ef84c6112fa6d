"""The page as a whole, and the files of the report."""

from pathlib import Path

import pandas as pd

from calm.paper.report.claim_sections import claims_section, verdict_table
from calm.paper.report.folder import Results, read_folder
from calm.paper.report.item_sections import beyond_section, item_section, overview, recordings_section
from calm.paper.report.items import ITEMS
from calm.paper.report.pdf import write_pdf
from calm.paper.report.settings import made_with
from calm.paper.report.web import web_page
from calm.storage import written_whole

INTRODUCTION = (
    "Every figure and table of *Self-Supervised Foundation Model for Calcium-imaging Population Dynamics* (CalM,"
    " [arXiv 2604.04958](https://arxiv.org/abs/2604.04958)) in its order, with what one run of calm got; and the"
    " paper's claims, each with a verdict.",
    "**Two columns, two kinds of data.** The paper's numbers are of its recordings, DANDI:000579. Ours are of the"
    " dataset that is named beside them. Numbers of synthetic data (simulation, synthetic cohort) are no measurement of"
    " the paper's recordings: if the columns differ, nothing is refuted, and if they agree, nothing is confirmed.",
    "**Numbers.** Ours: mean ± standard error over n sessions; no n where a number is of all sessions together. Paper:"
    " with the spread that it gives, where it gives one. corr is Pearson's correlation, mse the mean squared error of"
    " z-scores, r2 the share of variance explained.",
)


def page(results: Results) -> str:
    """The report as Markdown."""
    dataset = "" if results.folder.resolve().name == results.profile else f", dataset {results.folder.name}"
    entries = list(results.provenance.values())
    parts = [
        f"# The paper and ours: profile {results.profile}{dataset}",
        *INTRODUCTION,
        "## Verdicts",
        verdict_table(results.tests),
        "## Made with",
        *(made_with(results.profile, entries) if entries else ["Nothing was computed in this profile yet."]),
        "## Figures and tables",
        overview(results),
        *(item_section(item, results) for item in ITEMS),
        *beyond_section(results),
        *claims_section(results.tests, results.folder),
        *recordings_section(results),
    ]
    return "\n\n".join(parts) + "\n"


def write_report(folder: Path) -> Results:
    """Write `report.md`, `.csv`, `.html` and `.pdf` from the results tables and figures in a folder.

    The HTML page holds its images; equal input gives equal files. Without any results, the report says so.

    Raises:
        CalmError: the folder is not one of a profile, or a file in it is malformed.
    """
    results = read_folder(folder)
    text = page(results)
    rows = pd.concat([results.comparison, results.tests], ignore_index=True)
    with written_whole(folder / "report.csv") as file:
        rows.to_csv(file, index=False)
    with written_whole(folder / "report.md") as file:
        file.write_text(text, encoding="utf-8")
    with written_whole(folder / "report.html") as file:
        file.write_text(web_page(text, folder), encoding="utf-8")
    with written_whole(folder / "report.pdf") as file:
        write_pdf(text, folder, file)
    return results
