"""Panels of low-dimensional dynamics: correlation along principal components, and an example (Fig. 5C)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from calm.paper.embeddings.dynamics import COMPONENT_CORR, NEURON_CORR
from calm.paper.plots import CEILING_DASHES, colour
from calm.paper.results import summarise


def shuffle_boxes(axes: Axes, draws: pd.DataFrame, order: Sequence[str]) -> None:
    """Over the bars of the methods, what is left with shuffled trials: the central 95 % of the shuffles."""
    shuffled = draws[draws["draw"] > 0].groupby("method")["value"]
    low, high = shuffled.quantile(0.025), shuffled.quantile(0.975)
    for position, method in enumerate(order):
        height, label = high[method] - low[method], "trials shuffled (95 %)" if position == 0 else None
        look = {"facecolor": (1, 1, 1, 0.35), "edgecolor": "black", "width": 0.86, "zorder": 2}
        axes.bar(position, height, bottom=low[method], label=label, **look)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))


def by_component(axes: Axes, components: pd.DataFrame, order: Sequence[str]) -> None:
    """Correlation along each component, mean and standard error over sessions, and its share of the variance.

    Args:
        axes: to draw on.
        components: rows of `fig5c_components` of one group.
        order: methods.
    """
    summary = summarise(components, ["method", "metric", "component"])
    for method in order:
        rows = summary[(summary["method"] == method) & (summary["metric"] == "corr")]
        axes.plot(rows["component"], rows["mean"], color=colour(method), marker="o", ms=2, label=method)
        low, high = rows["mean"] - rows["sem"], rows["mean"] + rows["sem"]
        axes.fill_between(rows["component"], low, high, color=colour(method), alpha=0.2, lw=0)
    share = summary[summary["metric"] == "share of variance"]
    axes.plot(share["component"], share["mean"], color="0.2", linestyle=CEILING_DASHES[1], label="share of variance")
    axes.axhline(0, color="0.8", lw=0.6, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"principal component\nmean ± s.e.m., n up to {share['n'].max()} sessions")
    axes.set_ylabel("correlation (Pearson r)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


def components_and_neurons(axes: Axes, rows: pd.DataFrame, order: Sequence[str]) -> None:
    """For each method, the correlation of single neurons beside that along components; a line a session."""
    for position, method in enumerate(order):
        scores = rows[rows["method"] == method].pivot_table(index="session", columns="metric", values="value")
        pair = scores[[NEURON_CORR, COMPONENT_CORR]].to_numpy().T
        where = position + np.array([-0.2, 0.2])
        axes.plot(where, pair, color=colour(method), lw=0.5, alpha=0.5)
        axes.plot(where, pair.mean(axis=1), color=colour(method), marker="o", ms=4, lw=2)
    axes.set_xticks(range(len(order)), order)
    axes.set_ylabel("correlation (Pearson r)")
    axes.set_xlabel(f"left: single neurons, right: components\nthick: mean of n = {rows['session'].nunique()} sessions")


def component_example(
    axes: Sequence[Axes],
    time: Float[np.ndarray, " horizon"],
    true: Float[np.ndarray, "component horizon"],
    forecasts: Mapping[str, Float[np.ndarray, "component horizon"]],
) -> None:
    """The first components of one trial, one per Axes: what happened, and what each method forecast.

    `time` is in s since the end of the context, the components in units of the z-scored traces.
    """
    for number, panel in enumerate(axes):
        panel.plot(time, true[number], color="black", lw=0.8, label="true")
        for method, forecast in forecasts.items():
            panel.plot(time, forecast[number], color=colour(method), label=method)
        panel.set_title(f"component {number + 1}", loc="left")
        panel.set_xlabel("time since end of context (s)")
        panel.margins(x=0)
    axes[0].set_ylabel("projection (a.u.)")
    handles, names = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, names, loc="outside upper center", ncols=len(names), handlelength=1.5)
