"""Panels of what embeddings hold: planes of neurons, shuffled labels, confusion matrices (Fig. 5A, 5B, 6-8)."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from calm.paper.embeddings.study import COORDINATES
from calm.paper.plots import COLOURS, GREY, shuffle_range

POSITIVE, NEGATIVE = sns.color_palette("colorblind").as_hex()[:2]  # preferences: blue and orange
DIVERGING = "PuOr"  # of d'; colour-blind readers can tell its ends
DOT = 7  # area of a neuron's dot, points squared
REACH = 0.9  # of an axis: share of the neurons that lie closer to the middle


def by_neuron(neurons: pd.DataFrame) -> pd.DataFrame:
    """A row a neuron, a column a metric."""
    return neurons.pivot_table(index=["session", "neuron"], columns="metric", values="value", sort=False)


def preference_plane(axes: Axes, neurons: pd.DataFrame, variable: str, sides: tuple[str, str]) -> None:
    """Neurons tuned to a variable in the plane of the first two principal components, coloured by preference (Fig. 5A).

    `sides` are what neurons with positive and with negative d' prefer.
    """
    table = by_neuron(neurons)
    prefers = {sides[0]: table[variable] > 0, sides[1]: table[variable] < 0}
    for (side, chosen), shade, marker in zip(prefers.items(), (POSITIVE, NEGATIVE), "o^", strict=True):
        first, second = (table.loc[chosen, name] for name in COORDINATES)
        label = f"{side} (n = {chosen.sum()})"
        axes.scatter(first, second, s=DOT, c=shade, marker=marker, lw=0, alpha=0.75, label=label)
    axes.set_xlabel("PC 1 (sd)")
    axes.set_ylabel("PC 2 (sd)")
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
    axes.legend(**above, handletextpad=0.1, title=f"preferred {variable}", title_fontsize=7)


def gradient_plane(axes: Axes, neurons: pd.DataFrame, details: pd.DataFrame, variable: str) -> None:
    """Tuned neurons in the plane of the linear discriminants, coloured by d' of a variable (Fig. 5B).

    With all axes, which are among the rows of `fig5b_angles`.
    """
    table = by_neuron(neurons)
    first, second = (table[name] for name in COORDINATES)
    limit = float(np.quantile(np.abs(table[variable]), 0.95))
    colours = ScalarMappable(Normalize(-limit, limit), DIVERGING)
    axes.scatter(first, second, s=DOT, c=colours.to_rgba(table[variable]), edgecolors="0.6", lw=0.2)
    length = float(np.quantile(np.hypot(first, second), REACH))
    for metric, rows in details[details["metric"].str.startswith("axis of ")].groupby("metric", sort=False):
        name = metric.removeprefix("axis of ")
        end = length * rows.set_index("variant").loc[list(COORDINATES), "value"].to_numpy()
        weight = 1.6 if name == variable else 0.8
        axes.annotate("", xy=end, xytext=(0, 0), arrowprops={"arrowstyle": "-|>", "lw": weight, "color": "black"})
        axes.annotate(name, xy=1.2 * end, ha="center", va="center", bbox={"fc": "white", "ec": "none", "pad": 0.5})
    axes.margins(0.12)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("LD 1")
    axes.set_ylabel("LD 2")
    axes.figure.colorbar(colours, ax=axes, label=f"d' of {variable}", shrink=0.8, extend="both")


def shuffle_histogram(axes: Axes, draws: pd.DataFrame, label: str, p: float) -> None:
    """A statistic with shuffled labels, as a histogram, and as observed (draw 0), as a line with its p (Fig. 7, 8C)."""
    shuffled, observed = draws.loc[draws["draw"] > 0, "value"], float(draws.loc[draws["draw"] == 0, "value"].iloc[0])
    axes.hist(shuffled, bins=25, color=GREY, alpha=0.6, lw=0, label=f"shuffled ({len(shuffled)} times)")
    axes.axvline(observed, color=COLOURS["CalM"], lw=1.5, label="observed")
    axes.set_xlabel(label)
    axes.set_ylabel("number of shuffles")
    axes.set_title(f"n = {draws['n'].iloc[0]} neurons, p = {p:.2g}", loc="right", fontsize=7)


def confusion(axes: Axes, counts: pd.DataFrame, attribute: str) -> None:
    """Share of each true class (rows) of an attribute that was taken for each class, with the counts (Fig. 6)."""
    table = counts.pivot_table(index="true", columns="predicted", values="value", sort=False)
    share = table.div(table.sum(axis=1), axis=0)
    annotations = table.to_numpy(int)
    bar = {"label": "share of true class", "shrink": 0.8}
    sns.heatmap(
        share, ax=axes, vmin=0, vmax=1, cmap="Blues", annot=annotations, fmt="d", square=True, cbar_kws=bar, lw=0.3
    )
    axes.set_xlabel(f"predicted {attribute} (n = {annotations.sum()} sessions)")
    axes.set_ylabel(f"true {attribute}")
    axes.tick_params(length=0, rotation=0)


def read_outs(axes: Axes, draws: pd.DataFrame) -> None:
    """How well each target can be read out of embeddings: as observed, and the central 95 % with shuffled neurons."""
    observed = draws[draws["draw"] == 0].set_index("variant")["value"]
    low, high = shuffle_range(draws, "variant")
    look = {"height": 0.6, "color": GREY, "alpha": 0.5, "lw": 0, "label": "shuffled (95 %)"}
    axes.barh(observed.index, high - low, left=low, **look)
    axes.plot(observed, observed.index, "o", ms=4, color=COLOURS["CalM"], label="observed")
    axes.use_sticky_edges = False
    axes.axvline(0, color="0.8", lw=0.6, zorder=0)
    axes.invert_yaxis()
    axes.set_xlabel(f"correlation, left-out neurons (r)\nn = {draws['n'].iloc[0]} neurons")


def scale_lines(axes: Axes, rows: pd.DataFrame, chance: pd.DataFrame) -> None:
    """A score against the share of one thing that the transformer was trained with, a line a variable.

    `chance` is what shuffled neurons reach, drawn as the top of a grey band over all variables; it may be empty.
    """
    for number, (variant, line) in enumerate(rows.sort_values("share").groupby("variant", sort=False)):
        look = {"ls": "--" if variant.startswith("true ") else "-", "marker": "o", "ms": 3}
        axes.plot(line["share"], line["value"], color=f"C{number}", label=variant, **look)
    if len(chance):
        top = chance.groupby("share")["value"].max()
        axes.fill_between(top.index, 0, top, color=GREY, alpha=0.25, lw=0, label="shuffled (97.5 %)")
    shares = sorted(rows["share"].unique())
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{share:.3g}" for share in shares])
    axes.minorticks_off()
