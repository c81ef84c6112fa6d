"""The page (`page.md` filled in): a section for each figure and table of the paper, and our own results among them."""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from calm.errors import CalmError
from calm.paper.claims.table import judge
from calm.paper.report.claims import claim_sections, verdict_table
from calm.paper.report.comparison import compare, summarise_results
from calm.paper.report.items import ITEMS, Item, extras_of, title_and_caption
from calm.paper.report.settings import made_with, settings_tables
from calm.paper.report.tables import (
    PAPER_DATASET,
    dataset_names,
    escape,
    item_tables,
    markdown,
    method_names,
    value_text,
)
from calm.paper.report.web import slug, web_page
from calm.paper.results import (
    read_item,
    read_provenance,
    read_published,
    read_results,
    spread_of_trainings,
    verify_results,
)
from calm.profile import profile_names
from calm.storage import written_whole

MAIN = "corr"  # metric worth a line even where the paper gives no number
SCORED = tuple(item.name for item in ITEMS if item.scored)
SPREAD_METRICS = (MAIN, "r2", "r2 over frames")


@dataclasses.dataclass(frozen=True)
class Contents:
    """What the report is made of.

    Attributes:
        folder: with the png, pdf and csv of each item.
        profile: that they were made with.
        dataset: of a user, or the paper's; none for calm's own data.
        comparison: ours and the published values, see `calm.paper.report.comparison.compare`.
        spread: see `calm.paper.results.spread_of_trainings`.
        tests: of the claims, see `calm.paper.claims.table.judge`.
        provenance: by item.
    """

    folder: Path
    profile: str
    dataset: str
    comparison: pd.DataFrame
    spread: pd.DataFrame
    tests: pd.DataFrame
    provenance: Mapping[str, Mapping[str, Any]]

    @property
    def names(self) -> set[str]:
        """Of all items with a figure or a table, details such as `fig3b_trials` included."""
        return {path.stem for kind in ("*.png", "*.csv") for path in self.folder.glob(kind)} - {"report"}

    @property
    def of_a_user(self) -> bool:
        """Whether the results are of other recordings than the paper's, and not of calm's own data."""
        return self.dataset not in ("", PAPER_DATASET)

    def body(self, name: str, title: str) -> list[str]:
        """Figure and tables of an item, whatever there is of them."""
        rows = self.comparison[self.comparison["item"] == name]
        figure = [f"![{title}]({name}.png)"] if (self.folder / f"{name}.png").exists() else []
        return [*figure, *(item_tables(rows) if len(rows) else [])]

    def datasets(self, name: str) -> str:
        """What the numbers of an item are of."""
        path = self.folder / f"{name}.csv"
        return dataset_names(read_item(path)["dataset"].unique()) if path.exists() else ""

    def files(self, names: Sequence[str]) -> list[str]:
        """One line that links to the files of some items; the png stands in the page."""
        files = [f"{name}{kind}" for name in names for kind in (".csv", ".pdf")]
        links = [f"[{file}]({file})" for file in files if (self.folder / file).exists()]
        return [f"Files: {', '.join(links)}"] if links else []


def read_contents(folder: Path) -> Contents:
    """Everything that the report says, from the results tables in figures/<profile> or figures/<profile>/<dataset>.

    Raises:
        CalmError: it is no such folder, or a file in it does not match its checksum.
    """
    folder = folder.resolve()
    places = {each: each.name.split("-")[0] for each in (folder.parent, folder)}  # see `figures_folder`
    place, profile = next(((place, name) for place, name in places.items() if name in profile_names()), (folder, ""))
    if not profile:
        raise CalmError(f"{folder} is no folder of results: give figures/<profile> or figures/<profile>/<dataset>.")
    dataset = "" if place == folder else folder.name
    verify_results(folder)
    results, provenance = read_results(folder), read_provenance(folder / "provenance.json")
    comparison = compare(summarise_results(results), read_published())
    return Contents(folder, profile, dataset, comparison, spread_of_trainings(results), judge(folder), provenance)


def item_section(item: Item, contents: Contents) -> list[str]:
    """Heading, caption, figure, numbers and files of one item of the paper, and our own results that belong to it."""
    parts = [f"## {item.heading}", item.caption]
    if item.settings:
        return [*parts, *settings_tables(contents.profile, item.settings)]
    if item.name not in contents.names:
        if contents.of_a_user and not extras_of(item.name, contents.names):
            return []
        parts.append(f"Not computed in this profile: `notebooks/{item.notebook}` makes it.")
    return [*parts, *contents.body(item.name, item.label), *extra_sections(item.name, f" ({item.label})", contents)]


def extra_sections(item: str, of: str, contents: Contents) -> list[str]:
    """Our own results that belong to an item (none beyond the paper), each under a smaller heading; then all files.

    Details without a figure and with columns of their own, as `fig3b_trials`, are nothing but a file.
    """
    extras, parts = extras_of(item, contents.names), []
    for name in extras:
        title, caption = title_and_caption(name)
        if body := contents.body(name, title):
            parts += [f"### {title}{of}", *([caption] if caption else []), *body]
    return [*parts, *contents.files([item, *extras])]


def overview(contents: Contents) -> str:
    """All items of the paper with what ours are of and which notebook makes them, as a table in Markdown."""
    rows = [
        {
            "item": f"[{item.label}](#{slug(item.heading)})",
            "shows": item.title,
            "computed on": "settings of the profile" if item.settings else contents.datasets(item.name),
            "notebook": executed_notebook(item.notebook, contents.folder),
        }
        for item in ITEMS
        if item.settings or item.name in contents.names or not contents.of_a_user
    ]
    return markdown(pd.DataFrame(rows), markup=["item", "notebook"])


def executed_notebook(name: str, folder: Path) -> str:
    """Name of a notebook, which leads to what it was when it made the figures if that was kept."""
    kept, shown = f"notebooks/{name}.ipynb", name.replace("_", " ")
    return f"[{shown}]({kept})" if name and (folder / kept).exists() else shown


def main_scores(comparison: pd.DataFrame) -> pd.DataFrame:
    """Test scores of methods: correlations, and whatever the paper gives a number for."""
    scored = comparison["item"].isin(SCORED)
    rows = comparison[scored & ~comparison["split"].isin(["train", "val"])]
    counts = rows.groupby(["item", "metric"])[["paper", "ours"]].transform("count")
    return rows[(counts["ours"] > 0) & ((counts["paper"] > 0) | (rows["metric"] == MAIN))]


def short_scores(contents: Contents) -> str:
    """The main scores of a user's recordings, but not what the ablations lose, as a table in Markdown."""
    rows = main_scores(contents.comparison).dropna(subset="ours")
    rows = rows[rows["item"].str.startswith("fig")]
    scores = [value_text(*each) for each in zip(rows["ours"], rows["sem"], strict=True)]
    labels = rows["item"].map({item.name: f"{item.title} ({item.label})" for item in ITEMS})
    table = pd.DataFrame({"what": labels, "method": method_names(rows), "metric": rows["metric"], "score": scores})
    return markdown(table, right=["score"])


def trainings_table(spread: pd.DataFrame) -> str:
    """How far the main scores of networks differ between trainings, in Markdown; or that there is only one."""
    scored = spread["item"].isin(SCORED) & spread["metric"].isin(SPREAD_METRICS)
    rows = spread[scored & (spread["split"] == "test") & (spread["sd"] > 0)]
    if rows.empty:
        return (
            "Every network was trained once, so this run cannot tell how much of a difference between networks is luck."
        )
    labels = rows["item"].map({item.name: item.label for item in ITEMS})
    table = pd.DataFrame({"item": labels, "method": method_names(rows), "metric": rows["metric"]})
    texts = {name: rows[name].map(value_text) for name in ("mean", "sd")}
    return markdown(table.assign(**texts, trainings=rows["trainings"]), right=["mean", "sd", "trainings"])


def page(contents: Contents) -> str:
    """The report as Markdown."""
    entries = list(contents.provenance.values())
    sections = [part for item in ITEMS for part in item_section(item, contents)]
    if beyond := extra_sections("", "", contents):
        sections += ["## Beyond the paper", *beyond]
    published = contents.comparison[contents.comparison["paper"].notna()]
    computed, recorded = published["ours"].count(), (published["dataset"] == PAPER_DATASET).sum()
    made = made_with(contents.profile, entries) if entries else ["Nothing was computed in this profile yet."]
    name = "recordings.md" if contents.of_a_user else "page.md"
    template = (resources.files("calm.paper.report") / name).read_text(encoding="utf-8")
    return template.format(
        profile=contents.profile,
        dataset=escape(contents.dataset),
        of=f", dataset {escape(contents.dataset)}" if contents.dataset else "",
        scores=short_scores(contents),
        verdicts=verdict_table(contents.tests),
        made_with="\n\n".join(made),
        overview=overview(contents),
        sections="\n\n".join(sections),
        spread=trainings_table(contents.spread),
        claims="\n\n".join(claim_sections(contents.tests, contents.folder)),
        published=len(published),
        recorded=recorded,
        others=computed - recorded,
        missing=len(published) - computed,
    )


def write_report(folder: Path) -> Contents:
    """Write `report.md`, `.csv` and `.html` from the results tables and figures in a folder.

    The HTML page holds its images; equal input gives equal files. Without any results, the report says so.

    Raises:
        CalmError: the folder is not one of a profile, or a file in it is malformed.
    """
    contents = read_contents(folder)
    text = page(contents)
    rows = pd.concat([contents.comparison, contents.tests], ignore_index=True)
    files = {"report.csv": rows.to_csv(index=False), "report.md": text, "report.html": web_page(text, folder)}
    for name, content in files.items():
        with written_whole(folder / name) as file:
            file.write_text(content, encoding="utf-8")
    return contents
