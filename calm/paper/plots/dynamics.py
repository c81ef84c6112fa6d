"""Panels of low-dimensional dynamics: correlation along principal components (Fig. 5C)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from calm.paper.claims.statistics import permutation_p
from calm.paper.embeddings.dynamics import COMPONENT_CORR, NEURON_CORR
from calm.paper.plots import colour, shuffle_range
from calm.paper.results import summarise


def shuffle_boxes(axes: Axes, draws: pd.DataFrame, order: Sequence[str]) -> None:
    """Over the bars of the methods, what is left with shuffled trials: the central 95 % of the shuffles.

    Above them the share of all draws that reach what was observed (draw 0).
    """
    low, high = (bound[list(order)] for bound in shuffle_range(draws, "method"))
    look = {"facecolor": (1, 1, 1, 0.35), "edgecolor": "black", "width": 0.86, "zorder": 2}
    axes.bar(range(len(order)), high - low, bottom=low, label="trials shuffled (95 %)", **look)
    axes.set_ylim(top=1.12 * axes.get_ylim()[1])
    for place, method in enumerate(order):
        values = draws[draws["method"] == method].sort_values("draw")["value"].to_numpy()
        where = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "top", "fontsize": 6}
        axes.annotate(f"p = {permutation_p(values):.2g}", (place, 1.0), **where)


def by_component(axes: Axes, components: pd.DataFrame, order: Sequence[str]) -> None:
    """Correlation along each component, mean and standard error over sessions, and its share of the variance."""
    summary = summarise(components, ["method", "metric", "component"])
    for method in order:
        rows = summary[(summary["method"] == method) & (summary["metric"] == "corr")]
        axes.plot(rows["component"], rows["mean"], color=colour(method), marker="o", ms=2, label=method)
        low, high = rows["mean"] - rows["sem"], rows["mean"] + rows["sem"]
        axes.fill_between(rows["component"], low, high, color=colour(method), alpha=0.2, lw=0)
    share = summary[summary["metric"] == "share of variance"]
    axes.plot(share["component"], share["mean"], color="0.2", linestyle=":", label="share of variance")
    axes.axhline(0, color="0.8", lw=0.6, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"principal component\nmean ± s.e.m., n up to {share['n'].max()} sessions")
    axes.set_ylabel("correlation (Pearson r),\nshare of variance")


def components_and_neurons(axes: Axes, rows: pd.DataFrame, order: Sequence[str]) -> None:
    """For each method, the correlation of single neurons beside that along components; a line for each session."""
    for position, method in enumerate(order):
        scores = rows[rows["method"] == method].pivot_table(index="session", columns="metric", values="value")
        pair = scores[[NEURON_CORR, COMPONENT_CORR]].to_numpy().T
        where = position + np.array([-0.2, 0.2])
        axes.plot(where, pair, color=colour(method), lw=0.5, alpha=0.5)
        axes.plot(where, pair.mean(axis=1), color=colour(method), marker="o", ms=4, lw=2)
    axes.set_xticks(range(len(order)), order)
    axes.set_ylabel("correlation (Pearson r)")
    axes.set_xlabel(f"left: single neurons, right: components\nthick: mean of n = {rows['session'].nunique()} sessions")
