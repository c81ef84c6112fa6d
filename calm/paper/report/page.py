"""The page as a whole, and the files of the report."""

from pathlib import Path

import pandas as pd

from calm.errors import CalmError
from calm.paper.claims.table import judge
from calm.paper.report.claim_sections import claims_section, verdict_table
from calm.paper.report.comparison import compare, summarise_results
from calm.paper.report.items import ITEMS
from calm.paper.report.sections import Contents, beyond_section, item_section, overview, recordings_section
from calm.paper.report.settings import made_with
from calm.paper.report.tables import escape
from calm.paper.report.web import web_page
from calm.paper.results import read_provenance, read_published, read_results
from calm.profile import profile_names
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


def profile_of(folder: Path) -> str:
    """The profile that a folder `figures/<profile>` or `figures/<profile>/<dataset>` belongs to.

    Raises:
        CalmError: it is no such folder.
    """
    for name in (folder.resolve().name, folder.resolve().parent.name):
        if name in profile_names():
            return name
    raise CalmError(f"{folder} is no folder of results: give figures/<profile> or figures/<profile>/<dataset>.")


def read_contents(folder: Path) -> Contents:
    """Everything that the report says, from the results tables in a folder."""
    profile = profile_of(folder)
    comparison = compare(summarise_results(read_results(folder)), read_published())
    provenance = read_provenance(folder / "provenance.json")
    return Contents(folder, profile, comparison, judge(folder), provenance)


def page(contents: Contents) -> str:
    """The report as Markdown."""
    dataset = contents.folder.resolve().name
    entries = list(contents.provenance.values())
    parts = [
        f"# The paper and ours: profile {contents.profile}"
        + ("" if dataset == contents.profile else f", dataset {escape(dataset)}"),
        *INTRODUCTION,
        "## Verdicts",
        verdict_table(contents.tests),
        "## Made with",
        *(made_with(contents.profile, entries) if entries else ["Nothing was computed in this profile yet."]),
        "## Figures and tables",
        overview(contents),
        *(part for item in ITEMS for part in item_section(item, contents)),
        *beyond_section(contents),
        *claims_section(contents.tests, contents.folder),
        *recordings_section(contents),
    ]
    return "\n\n".join(parts) + "\n"


def write_report(folder: Path) -> Contents:
    """Write `report.md`, `.csv` and `.html` from the results tables and figures in a folder.

    The HTML page holds its images; equal input gives equal files. Without any results, the report says so.

    Raises:
        CalmError: the folder is not one of a profile, or a file in it is malformed.
    """
    contents = read_contents(folder)
    text = page(contents)
    rows = pd.concat([contents.comparison, contents.tests], ignore_index=True)
    with written_whole(folder / "report.csv") as file:
        rows.to_csv(file, index=False)
    with written_whole(folder / "report.md") as file:
        file.write_text(text, encoding="utf-8")
    with written_whole(folder / "report.html") as file:
        file.write_text(web_page(text, folder), encoding="utf-8")
    return contents
