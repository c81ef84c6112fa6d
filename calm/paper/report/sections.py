"""Sections of the page, in Markdown: one for each figure and table of the paper, and our own results among them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from calm.paper.report.items import ITEMS, Item, extras_of, title_and_caption
from calm.paper.report.settings import settings_tables
from calm.paper.report.tables import PAPER_DATASET, dataset_name, dataset_names, item_tables, markdown
from calm.paper.report.web import slug
from calm.paper.results import read_item


@dataclasses.dataclass(frozen=True)
class Contents:
    """What the report is made of.

    Attributes:
        folder: with the png, pdf and csv of each item.
        profile: that they were made with.
        comparison: ours and the published values, see `calm.paper.report.comparison.compare`.
        tests: of the claims, see `calm.paper.claims.table.judge`.
        provenance: by item.
    """

    folder: Path
    profile: str
    comparison: pd.DataFrame
    tests: pd.DataFrame
    provenance: Mapping[str, Mapping[str, Any]]

    @property
    def names(self) -> list[str]:
        """Of all items with a figure or a table, details such as `fig3b_trials` included."""
        names = {path.stem for kind in ("*.png", "*.csv") for path in self.folder.glob(kind)}
        return sorted(name for name in names - {"report"} if not name.startswith("claims"))

    def body(self, name: str, title: str) -> list[str]:
        """Figure and tables of an item, whatever there is of them."""
        rows = self.comparison[self.comparison["item"] == name]
        figure = [f"![{title}]({name}.png)"] if (self.folder / f"{name}.png").exists() else []
        return [*figure, *(item_tables(rows) if len(rows) else [])]

    def datasets(self, name: str) -> str:
        """What the numbers of an item are of."""
        path = self.folder / f"{name}.csv"
        return dataset_names(read_item(path)["dataset"].unique()) if path.exists() else ""

    def files(self, names: list[str]) -> list[str]:
        """One line that links to the files of some items; the png stands in the page."""
        files = [f"{name}{kind}" for name in names for kind in (".csv", ".pdf")]
        links = [f"[{file}]({file})" for file in files if (self.folder / file).exists()]
        return [f"Files: {', '.join(links)}"] if links else []


def item_section(item: Item, contents: Contents) -> list[str]:
    """Heading, caption, figure, numbers and files of one item of the paper, and our own results that belong to it."""
    parts = [f"## {item.heading}", item.caption]
    if item.settings:
        return [*parts, *settings_tables(contents.profile, item.settings)]
    if item.name not in contents.names:
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


def beyond_section(contents: Contents) -> list[str]:
    """Our own results that belong to no item of the paper."""
    parts = extra_sections("", "", contents)
    return ["## Beyond the paper", *parts] if parts else []


def overview(contents: Contents) -> str:
    """All items of the paper with what ours are of and which notebook makes them, as a table in Markdown."""
    rows = [
        {
            "item": f"[{item.label}](#{slug(item.heading)})",
            "shows": item.title,
            "ours is of": "settings of the profile" if item.settings else contents.datasets(item.name),
            "notebook": item.notebook.replace("_", " "),
        }
        for item in ITEMS
    ]
    return markdown(pd.DataFrame(rows), markup=["item"])


def recordings_section(contents: Contents) -> list[str]:
    """How many of the published values are matched by numbers of the recordings, how many by others or by none."""
    published = contents.comparison[contents.comparison["paper"].notna()]
    computed, recorded = published["ours"].count(), (published["dataset"] == PAPER_DATASET).sum()
    name = dataset_name(PAPER_DATASET)
    return [
        "## What needs the recordings",
        f"The paper gives {len(published)} numbers, all of {name}. Beside {recorded} of them stand numbers that were"
        f" computed on these recordings, beside {computed - recorded} numbers of other data, and beside"
        f" {len(published) - computed} none.",
        f"Whether the paper's numbers come out again can only be said on {name}: `data/README.md` tells how to get the"
        " recordings (all 229 GB or a few sessions). Then: `snakemake --cores all --config profile=paper"
        " dataset=data/dandi_000579.yaml`. A verdict on synthetic data says whether the method does what is claimed on"
        " data whose truth is known; not whether it did so in the paper.",
    ]
