"""Sections of the page, in Markdown: one for each figure and table of the paper, and our own results among them."""

import pandas as pd

from calm.paper.report.folder import Results
from calm.paper.report.items import ITEMS, Item, extras_of, title_of
from calm.paper.report.settings import TABLES, settings_table
from calm.paper.report.tables import PAPER_DATASET, dataset_name, dataset_names, item_tables, markdown
from calm.paper.report.web import slug

NOT_HERE = "Not computed in this profile"


def item_section(item: Item, results: Results) -> str:
    """Heading, caption, figure, numbers and files of one item of the paper, then our own results that belong to it."""
    parts = [f"## {item.heading}", item.caption]
    if item.name in TABLES:
        return "\n\n".join([*parts, *settings_table(results.profile, item.name)])
    if item.name not in results.names():
        parts.append(f"{NOT_HERE}: `notebooks/{item.notebook}` makes it.")
    parts += body(item.name, item.label, results)
    return "\n\n".join([*parts, *extra_sections(item.name, results)])


def extra_sections(item: str, results: Results) -> list[str]:
    """The files of an item (none beyond the paper), and our own results that belong to it with theirs.

    A result with nothing to show, as `fig3b_trials`, is a file more of what its name begins with.
    """
    extras = extras_of(item, results.names())
    shown = [name for name in extras if results.is_shown(name)]
    files: dict[str, list[str]] = {name: [name] for name in (item, *shown)}
    for name in extras:
        if name not in shown:
            homes = [home for home in shown if name.startswith(f"{home}_")]
            files[max(homes, key=len, default=item)].append(name)
    labels = {each.name: each.label for each in ITEMS}
    sections = [
        part
        for name in shown
        for part in (*extra_section(name, labels.get(item, ""), results), *files_line(files[name], results))
    ]
    return [*files_line(files[item], results), *sections]


def body(name: str, label: str, results: Results) -> list[str]:
    """Figure and numbers, whatever there is of them."""
    figure = [f"![{label}]({name}.png)"] if (results.folder / f"{name}.png").exists() else []
    rows = results.rows(name)
    return [*figure, *(item_tables(rows) if len(rows) else [])]


def files_line(names: list[str], results: Results) -> list[str]:
    """One line that links to the files of some results."""
    links = [link for name in names for link in results.files(name)]
    return [f"Files: {', '.join(links)}"] if links else []


def extra_section(name: str, label: str, results: Results) -> list[str]:
    """A result of our own under a smaller heading, which names the item that it belongs to, if any (`label`)."""
    title, caption = title_of(name)
    heading = f"### {title} ({label})" if label else f"### {title}"
    return [heading, *([caption] if caption else []), *body(name, title, results)]


def beyond_section(results: Results) -> list[str]:
    """Our own results that belong to no item of the paper."""
    parts = extra_sections("", results)
    return ["## Beyond the paper", *parts] if parts else []


def status(item: Item, results: Results) -> str:
    """On what an item was computed, if it was."""
    if item.name in TABLES:
        return "settings of the profile"
    return dataset_names(results.datasets(item.name)) if item.name in results.names() else "not computed"


def overview(results: Results) -> str:
    """All items of the paper with what ours are of and which notebook makes them, as a table in Markdown."""
    rows = {
        "item": [f"[{item.label}](#{slug(item.heading)})" for item in ITEMS],
        "shows": [item.title for item in ITEMS],
        "ours is of": [status(item, results) for item in ITEMS],
        "notebook": [item.notebook.replace("_", " ") for item in ITEMS],
    }
    return markdown(pd.DataFrame(rows))


def recordings_section(results: Results) -> list[str]:
    """Which published values are matched by numbers of the recordings, which by others and which by none."""
    published = results.comparison[results.comparison["paper"].notna()]
    recorded = published["dataset"] == PAPER_DATASET
    groups = {
        "computed on the recordings themselves": published[recorded],
        "beside a number of other data": published[published["ours"].notna() & ~recorded],
        "not computed in this profile, or of variants only": published[published["ours"].isna()],
    }
    labels = {item.name: item.label for item in ITEMS}
    lines = [
        f"- {len(rows)} {what}{': ' + ', '.join(labels[name] for name in rows['item'].unique()) if len(rows) else ''}"
        for what, rows in groups.items()
    ]
    name = dataset_name(PAPER_DATASET)
    return [
        "## What needs the recordings",
        f"The paper gives {len(published)} numbers, all of {name}. Of these are",
        "\n".join(lines),
        f"Whether the paper's numbers come out again can only be said on {name}: `data/README.md` tells how to get the"
        " recordings (all 229 GB or a few sessions). Then: `snakemake --cores all --config profile=paper"
        " dataset=data/dandi_000579.yaml`. A verdict on synthetic data says whether the method does what is claimed on"
        " data whose truth is known; not whether it did so in the paper.",
    ]
