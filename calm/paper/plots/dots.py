"""Panels of dots, methods below each other: for many of them, long names, or values that are far from 0."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from calm.errors import CalmError
from calm.metrics import BANDS
from calm.paper.plots import colour, sessions_text, spread
from calm.paper.results import RESIDUALS, summarise

NOMINAL = {f"coverage {percent}": percent / 100 for percent in BANDS}
LABELS = {"crps": "CRPS (z-score)"} | {f"coverage {percent}": f"share within {percent} % band" for percent in BANDS}


def distribution_panels(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    """CRPS and coverage, an Axes each, a line for each method, best CRPS on top; see `dots`.

    Full: futures that the method itself draws; open: its forecasts with residuals. Dashed: what bands should cover.

    Raises:
        CalmError: there is nothing to draw.
    """
    if table.empty:
        raise CalmError("There are no scores of distributions: call `score_distributions` first.")
    best = summarise(table[table["metric"] == "crps"], ["method", "variant"]).sort_values("mean", ascending=False)
    order = list(zip(best["method"], best["variant"], strict=True))
    for panel, (metric, label) in zip(axes, LABELS.items(), strict=True):
        dots(panel, table[table["metric"] == metric], order, label)
        if metric in NOMINAL:
            panel.axvline(NOMINAL[metric], color="0.2", linestyle="--", lw=0.8, zorder=0)
            panel.set_xlim(0, 1)
        if panel is not axes[0]:
            panel.set_yticks([])
        if panel is not axes[len(axes) // 2]:
            panel.set_xlabel(label)  # once is enough for what the dots are


def dots(axes: Axes, table: pd.DataFrame, order: Sequence[tuple[str, str]], label: str) -> None:
    """Mean, standard error (none of a single session) and a small dot for each session, of one metric.

    Methods and variants as in `order`, from below; open dots if the distribution is made of residuals. A line through a
    small dot is the range of the trainings, whose mean it is.
    """
    for place, (method, variant) in enumerate(order):
        rows = table[(table["method"] == method) & (table["variant"] == variant)]
        sessions, shade = rows.groupby("session")["value"], colour(method)
        values, places = sessions.mean(), place + spread(sessions.ngroups, 0.25)
        look = {"ms": 4, "lw": 0.8, "color": shade, "mfc": "white" if variant.endswith(RESIDUALS) else shade}
        axes.errorbar(values.mean(), place, xerr=values.sem() if len(values) > 1 else None, fmt="o", **look)
        axes.hlines(places, sessions.min(), sessions.max(), color="0.6", lw=0.4, zorder=2.5)
        axes.plot(values, places, "o", ms=1.5, color="0.4", mew=0, zorder=3)
    axes.set_yticks(range(len(order)), [", ".join(filter(None, name)) for name in order])
    axes.set_xlabel(f"{label}\n{sessions_text(table, 'small dots: ')}")
