"""Panels of forecast distributions: how good they are, and whether they know how uncertain they are."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from calm.errors import CalmError
from calm.metrics import BANDS
from calm.paper.plots import colour, sessions_text, spread
from calm.paper.results import summarise

NOMINAL = {f"coverage {percent}": percent / 100 for percent in BANDS}
LABELS = {"crps": "CRPS (z-score)"} | {f"coverage {percent}": f"share within {percent} % band" for percent in BANDS}
RESIDUALS = "residuals"  # ends the variant of a forecast whose distribution is what it missed on validation trials


def distribution_panels(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    """CRPS and coverage, an Axes each, a line a method, best CRPS on top: mean and s.e.m., a small dot a session.

    Full: futures that the method itself draws; open: its forecasts with residuals. Dashed: what bands should cover.

    Raises:
        CalmError: there is nothing to draw.
    """
    if table.empty:
        raise CalmError("There are no scores of distributions: call `score_distributions` first.")
    summary = summarise(table, ["metric", "method", "variant"])
    best = summary[summary["metric"] == "crps"].sort_values("mean", ascending=False)
    order = list(zip(best["method"], best["variant"], strict=True))
    for panel, (metric, label) in zip(axes, LABELS.items(), strict=True):
        of_metric = table[table["metric"] == metric].set_index(["method", "variant"]).sort_index()
        for place, method in enumerate(order):
            draw_line(panel, place, of_metric.loc[[method]], colour(method[0]), own=not method[1].endswith(RESIDUALS))
        if metric in NOMINAL:
            panel.axvline(NOMINAL[metric], color="0.2", linestyle="--", lw=0.8, zorder=0)
            panel.set_xlim(0, 1)
        panel.set_xlabel(label)
        panel.set_yticks([])
    middle = axes[len(axes) // 2]
    middle.set_xlabel(f"{middle.get_xlabel()}\n{sessions_text(table, 'small dots: ')}")
    axes[0].set_yticks(range(len(order)), [", ".join(filter(None, method)) for method in order])


def draw_line(axes: Axes, place: int, rows: pd.DataFrame, colour: str, *, own: bool) -> None:
    """Mean, standard error (none of a single session) and sessions of one method in one metric."""
    values = rows.groupby("session")["value"].mean()
    error = values.sem() if len(values) > 1 else None
    axes.errorbar(values.mean(), place, xerr=error, fmt="o", ms=4, color=colour, mfc=colour if own else "white", lw=0.8)
    axes.plot(values, place + spread(len(values), 0.25), "o", ms=1.5, color="0.4", mew=0, zorder=3)
