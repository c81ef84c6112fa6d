"""Numbers as tables in Markdown, made for a page: few digits, few columns."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from calm.config import COHORT

PAPER_DATASET = "dandi_000579"
NAMES = {PAPER_DATASET: "DANDI:000579", COHORT: "synthetic cohort"}  # of datasets, for readers
MINUS = "\N{MINUS SIGN}"
WIDEST = 4  # metrics side by side
PAIRS = 3  # and metrics with a column of the paper's numbers and one of ours
LONGEST = 60  # rows


def dataset_name(dataset: str) -> str:
    """What readers know a dataset as."""
    return NAMES.get(dataset, dataset)


def dataset_names(datasets: Iterable[str]) -> str:
    """All that occur, in one phrase."""
    return ", ".join(dict.fromkeys(map(dataset_name, datasets)))


def digits(values: pd.Series) -> int:
    """Decimals that the values of a metric need: none for counts, fewer for large numbers."""
    largest = values.abs().max()
    if largest >= 10_000 or (largest > 1 and (values.dropna() % 1 == 0).all()):
        return 0
    return 1 if largest >= 100 else 2 if largest >= 10 else 3


def number(value: float, spread: float = float("nan"), decimals: int = 3) -> str:
    """`0.742 ± 0.010`; without the spread where it is unknown, and nothing for no number."""
    if pd.isna(value):
        return ""
    return " ± ".join(f"{each:,.{decimals}f}" for each in (value, spread) if not pd.isna(each)).replace("-", MINUS)


def method_names(rows: pd.DataFrame) -> list[str]:
    """`CalM, mean of 64`: method and, if any, variant."""
    pairs = zip(rows["method"], rows["variant"].fillna(""), strict=True)
    return [f"{method}, {variant}" if variant else method for method, variant in pairs]


def short_names(rows: pd.DataFrame) -> list[str]:
    """As `method_names`, but the variant alone where all rows are of one method."""
    alone = len(rows["method"].unique()) == 1 and not rows["variant"].eq("").any()
    return list(rows["variant"]) if alone else method_names(rows)


def markdown(table: pd.DataFrame, right: Sequence[str] = ()) -> str:
    """A table in Markdown, its texts as they are; the columns `right` are aligned to the right."""
    shown = table.astype(str).replace(r"\|", r"\|", regex=True)
    sides = ["right" if column in right else "left" for column in table]
    return shown.to_markdown(index=False, disable_numparse=True, colalign=sides)


def item_tables(rows: pd.DataFrame) -> list[str]:
    """The rows of one item (of `calm.paper.report.numbers.compare`) as paragraphs and tables in Markdown.

    Validation trials serve to choose, and are shown only where training trials are, too.
    """
    rows = rows if "train" in set(rows["split"]) else rows[rows["split"] != "val"]
    rows = rows.assign(label=short_names(rows))
    has_paper = rows.groupby(["split", "metric"])["paper"].transform("count") > 0
    parts = beside_paper(rows[has_paper]) if has_paper.any() else []
    for dataset, own in rows[~has_paper].groupby("dataset", sort=False):
        parts.append(f"Ours ({dataset_name(str(dataset))}{sessions(own['n'], ', ')}); the paper gives no number.")
        parts += own_tables(own)
    return parts


def texts(rows: pd.DataFrame, value: str, spread: str) -> list[str]:
    """A column of numbers with their spread; a metric has the same decimals everywhere."""
    joined = rows.melt("metric", ["paper", "ours"])
    places = rows["metric"].map(joined.groupby("metric")["value"].apply(digits))
    return [number(*each) for each in zip(rows[value], rows[spread], places, strict=True)]


def head(rows: pd.DataFrame) -> str:
    """Of the column of labels."""
    return "" if rows["label"].equals(rows["variant"]) else "method"


def beside_paper(rows: pd.DataFrame) -> list[str]:
    """A row for each method; for each metric the paper's numbers beside ours, each with its dataset in the head."""
    rows = rows.assign(theirs=texts(rows, "paper", "paper_spread"), own=texts(rows, "ours", "sem"))
    metrics = list(rows["metric"].unique())
    sources = "; ".join(re.sub("^paper", "the paper itself", each) for each in rows["source"].dropna().unique())
    tables = [pair_table(rows, metrics[start : start + PAIRS]) for start in range(0, len(metrics), PAIRS)]
    return [f"Source of the paper's numbers: {sources}{sessions(rows['n'], '. Ours: ')}.", *tables]


def pair_table(rows: pd.DataFrame, metrics: Sequence[str]) -> str:
    """The given metrics of all methods that have one of them."""
    part = rows[rows["metric"].isin(metrics)]
    shown = pd.DataFrame(index=pd.Index(part["label"].unique(), name=head(part)))
    for metric in metrics:
        same = part[part["metric"] == metric]
        papers = dataset_names(same["paper_dataset"].dropna())
        shown[f"{metric}, paper ({papers})"] = same.dropna(subset="paper").groupby("label")["theirs"].first()
        for dataset, own in same.dropna(subset="ours").groupby("dataset", sort=False):
            shown[f"{metric}, ours ({dataset_name(str(dataset))})"] = own.set_index("label")["own"]
    return markdown(shown.fillna("").reset_index(), list(shown.columns))


def own_tables(rows: pd.DataFrame) -> list[str]:
    """A row for each method and a column for each metric; metrics of other methods make a table of their own."""
    several = rows.groupby("metric")["split"].transform("nunique") > 1
    name = rows["metric"].where(~several, rows["metric"] + ", " + rows["split"])
    rows = rows.assign(name=name, text=texts(rows, "ours", "sem"))
    whose = rows.groupby("name", sort=False)["label"].agg(tuple)
    tables = []
    for labels in dict.fromkeys(whose):
        columns = list(whose.index[[each == labels for each in whose]])
        for start in range(0, len(columns), WIDEST):
            tables.append(wide_table(rows, columns[start : start + WIDEST]))
    return tables


def wide_table(rows: pd.DataFrame, columns: Sequence[str]) -> str:
    """The given columns of all methods that have them; the rest of a long table is left to the CSV file."""
    rows = rows[rows["name"].isin(columns)]
    labels = list(dict.fromkeys(rows["label"]))
    wide = rows.pivot_table(index="label", columns="name", values="text", aggfunc="first")
    wide = wide.loc[labels[:LONGEST], list(columns)].rename_axis(index=head(rows), columns=None).reset_index()
    left_out = f"\n\n{len(labels) - LONGEST} more rows in the CSV file." if len(labels) > LONGEST else ""
    return markdown(wide, columns) + left_out


def sessions(counts: pd.Series, before: str) -> str:
    """`n = 3 sessions` with something before it; nothing where numbers are of all sessions together."""
    if counts.isna().all():
        return ""
    fewest, most = int(counts.min()), int(counts.max())
    return f"{before}n = {most if fewest == most else f'{fewest} to {most}'} session{'s' * (most > 1)}"
