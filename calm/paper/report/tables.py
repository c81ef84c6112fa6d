"""Tables in Markdown, made for a page: few digits, few columns, and users' texts as they are."""

import re
from collections.abc import Collection, Iterable, Sequence

import pandas as pd

from calm.config.synthetic import COHORT

PAPER_DATASET = "dandi_000579"
NAMES = {PAPER_DATASET: "DANDI:000579", COHORT: "synthetic cohort"}  # of datasets, for readers
MINUS = "\N{MINUS SIGN}"
WIDEST = 4  # metrics side by side
PAIRS = 3  # and metrics with a column of the paper's values and one of ours
LONGEST = 60  # rows
METHOD = ("method", "variant", "group")  # columns that name what was measured
MARKUP = re.compile(r"[\\`*\[\]<>|&~$]|(?<![^\W_])_|_(?![^\W_])")  # an underscore within a word means nothing


def escape(text: str) -> str:
    """A text on one line that Markdown shows as it is: no image, link, HTML or cell begins in it."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def dataset_name(dataset: str) -> str:
    """What readers know a dataset as."""
    return NAMES.get(dataset, dataset)


def dataset_names(datasets: Iterable[str]) -> str:
    """All that occur, in one phrase."""
    return ", ".join(dict.fromkeys(map(dataset_name, datasets)))


def digits(values: pd.Series) -> int:
    """Decimals that the values of a metric need: none for counts, fewer for large values."""
    largest = values.abs().max()
    if largest >= 10_000 or (largest > 1 and (values.dropna() % 1 == 0).all()):
        return 0
    return 1 if largest >= 100 else 2 if largest >= 10 else 3


def value_text(value: float, spread: float = float("nan"), decimals: int = 3) -> str:
    """`0.742 ± 0.010`; without the spread where it is unknown, and nothing for NaN."""
    if pd.isna(value):
        return ""
    return " ± ".join(f"{each:,.{decimals}f}" for each in (value, spread) if not pd.isna(each)).replace("-", MINUS)


def method_names(rows: pd.DataFrame, columns: Sequence[str] = METHOD) -> list[str]:
    """`CalM, mean of 64, held-in`: method and, if any, variant and group."""
    return [", ".join(filter(None, names)) for names in rows.reindex(columns=columns, fill_value="").to_numpy()]


def markdown(table: pd.DataFrame, right: Collection[str] = (), markup: Collection[str] = ()) -> str:
    """A table in Markdown: texts as they are, but for columns of `markup`; numbers to the `right`."""
    shown = pd.DataFrame({name: table[name] if name in markup else table[name].map(str).map(escape) for name in table})
    sides = ["right" if name in right else "left" for name in table]
    heads = [escape(name) for name in table]
    return shown.to_markdown(index=False, headers=heads, disable_numparse=True, colalign=sides)


def item_tables(rows: pd.DataFrame) -> list[str]:
    """The rows of one item (of `calm.paper.report.comparison.compare`) as paragraphs and tables in Markdown.

    Validation trials serve to choose, and are shown only where training trials are, too.
    """
    rows = rows if "train" in set(rows["split"]) else rows[rows["split"] != "val"]
    one_method = len(set(rows["method"])) == 1 and (rows["variant"] + rows["group"]).ne("").all()
    head, names = ("", ("variant", "group")) if one_method else ("method", METHOD)
    rows = rows.assign(row=method_names(rows, names))
    has_paper = rows.groupby(["split", "metric"])["paper"].transform("count") > 0
    parts = beside_paper(rows[has_paper], head) if has_paper.any() else []
    for dataset, ours in rows[~has_paper].groupby("dataset", sort=False):
        n = sessions(ours["n"], ", ")
        parts.append(f"Ours ({escape(dataset_name(str(dataset)))}{n}); the paper gives no number.")
        several_splits = ours.groupby("metric")["split"].transform("nunique") > 1
        columns = ours["metric"].where(~several_splits, ours["metric"] + ", " + ours["split"])
        known = cells(ours, "ours", "sem", columns)
        parts += wide_tables(known.assign(metric=known["column"]), head, WIDEST)
        if known.empty:
            parts.append("None of its values could be computed.")
    return parts


def beside_paper(rows: pd.DataFrame, head: str) -> list[str]:
    """For each metric the paper's values beside ours, each with its dataset in the head of the column."""
    sources = "; ".join(re.sub("^paper", "the paper itself", each) for each in rows["source"].dropna().unique())
    papers = rows["metric"] + ", paper (" + rows["paper_dataset"].map(dataset_name, na_action="ignore") + ")"
    ours = rows["metric"] + ", ours (" + rows["dataset"].map(dataset_name, na_action="ignore") + ")"
    both = pd.concat([cells(rows, "paper", "paper_spread", papers), cells(rows, "ours", "sem", ours)])
    parts = [f"Source of the paper's numbers: {sources}{sessions(rows['n'], '. Ours: ')}."]
    return parts + wide_tables(both.sort_index(kind="stable"), head, PAIRS)


def cells(rows: pd.DataFrame, value: str, spread: str, columns: pd.Series) -> pd.DataFrame:
    """The cells of a future table, one in each row: metric, row and column that it belongs to, and its text."""
    decimals = rows["metric"].map(rows.melt("metric", ["paper", "ours"]).groupby("metric")["value"].apply(digits))
    texts = [value_text(*each) for each in zip(rows[value], rows[spread], decimals, strict=True)]
    return rows[["metric", "row"]].assign(column=columns, text=texts)[rows[value].notna()]


def wide_tables(long: pd.DataFrame, head: str, widest: int) -> list[str]:
    """Cells as tables of no more than `widest` metrics; metrics of other methods make a table of their own."""
    methods = long.groupby("metric", sort=False)["row"].agg(lambda rows: tuple(dict.fromkeys(rows)))
    tables = []
    for _, metrics in methods.groupby(methods, sort=False):
        for start in range(0, len(metrics), widest):
            tables.append(wide_table(long[long["metric"].isin(metrics.index[start : start + widest])], head))
    return tables


def wide_table(long: pd.DataFrame, head: str) -> str:
    """Cells as one table; what a long table has too much is left to the CSV file."""
    rows, columns = long["row"].unique(), list(long["column"].unique())
    wide = long.pivot_table(index="row", columns="column", values="text", aggfunc="first", fill_value="")
    wide = wide.loc[rows[:LONGEST], columns].rename_axis(index=head, columns=None).reset_index()
    left_out = f"\n\n{len(rows) - LONGEST} more rows in the CSV file." if len(rows) > LONGEST else ""
    return markdown(wide, right=columns) + left_out


def sessions(counts: pd.Series, before: str) -> str:
    """`n = 3 sessions` with something before it; nothing where values are of all sessions together."""
    if counts.isna().all():
        return ""
    fewest, most = int(counts.min()), int(counts.max())
    return f"{before}n = {most if fewest == most else f'{fewest} to {most}'} session{'s' * (most > 1)}"
