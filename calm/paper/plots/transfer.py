"""Panels on recordings that training never saw: how few trials are enough, and what the corpus covers."""

import pandas as pd
from matplotlib.axes import Axes

from calm.paper.plots import GREY, colour, legend_above

# By variant: where what was learned comes from.
LOOKS = {"adapted": "-", "adapted from what ships": "-.", "from scratch": "--", "": ":"}


def few_trials(axes: Axes, table: pd.DataFrame, label: str) -> None:
    """A score against the number of training trials (columns `trials`, `value`), a line for each method and variant.

    Several sessions are averaged; none, one and more trials are on a logarithmic axis that begins at 0.
    """
    means = table.groupby(["method", "variant", "trials"], sort=False)["value"].mean().reset_index()
    for (method, variant), line in means.groupby(["method", "variant"], sort=False):
        name = ", ".join(filter(None, (method, variant)))
        axes.plot(line["trials"], line["value"], LOOKS[variant], color=colour(method), marker="o", ms=3, label=name)
    counts = sorted(table["trials"].unique())
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel(f"training trials\n(n = {table['session'].nunique()} session)")
    axes.set_ylabel(label)
    legend_above(axes, columns=2)


def coverage_dots(axes: Axes, table: pd.DataFrame, across: str, upward: str) -> None:
    """Every session at two of its numbers (rows of each `metric`), the corpus in grey, other groups in colours."""
    wide = table.pivot_table(index=["group", "session"], columns="metric", values="value", sort=False)
    for group, rows in wide.groupby("group", sort=False):
        look = {"color": GREY, "alpha": 0.4, "ms": 2.5} if group == table["group"].iloc[0] else {"ms": 4}
        axes.plot(rows[across], rows[upward], "o", label=group, **look)
    axes.set_xlabel(across)
    axes.set_ylabel(upward)
