"""Panels of what embeddings hold: planes of neurons, shuffled labels, confusion matrices (Fig. 5A, 5B, 6-8)."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from calm.paper.claims.statistics import permutation_p
from calm.paper.embeddings.study import COORDINATES
from calm.paper.plots import COLOURS, GREY, shuffle_range
from calm.paper.plots.data import CHOICES, CUE_COLOURS, TRACES

SIDES = CUE_COLOURS | CHOICES  # of a preference
DIVERGING = "PuOr"  # of d'; colour-blind readers can tell its ends
LAYERS = {"L23": "L2/3"}  # as the files write it, and as everyone does
# Of what is read out, by its last word; no method has one of these colours.
READ = {**TRACES, "place": "#117733", "baseline": "0.45", "amplitude": "#aa4499"}
DOT = 7  # area of a neuron's dot, points squared


def by_neuron(neurons: pd.DataFrame) -> pd.DataFrame:
    """A row for each neuron, a column for each metric."""
    return neurons.pivot_table(index=["session", "neuron"], columns="metric", values="value", sort=False)


def preference_plane(
    axes: Axes, neurons: pd.DataFrame, variable: str, sides: tuple[str, str], draws: pd.DataFrame
) -> None:
    """Neurons tuned to a variable in the plane of the first two principal components, coloured by preference (Fig. 5A).

    `sides` are what neurons with positive and with negative d' prefer; `draws` how well a direction of the plane tells
    left-out neurons apart, as observed (draw 0) and with shuffled labels.
    """
    table = by_neuron(neurons)
    prefers = {sides[0]: table[variable] > 0, sides[1]: table[variable] < 0}
    for (side, chosen), other, marker in zip(prefers.items(), CHOICES.values(), "o^", strict=True):
        first, second = (table.loc[chosen, name] for name in COORDINATES)
        label = f"{side} (n = {chosen.sum()})"
        axes.scatter(first, second, s=DOT, c=SIDES.get(side, other), marker=marker, lw=0, alpha=0.75, label=label)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(f"PC 1 (sd)\n{correlation_text(draws)}")
    axes.set_ylabel("PC 2 (sd)")
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
    axes.legend(**above, handletextpad=0.1, title=f"preferred {variable}", title_fontsize=7)


def correlation_text(draws: pd.DataFrame) -> str:
    """A correlation as observed, draw 0, and the share of all draws that reach it."""
    values = draws.sort_values("draw")["value"].to_numpy()
    return f"left-out neurons: r = {values[0]:z.2f}, p = {permutation_p(values):.2g}"


def gradient_plane(
    axes: Axes, neurons: pd.DataFrame, details: pd.DataFrame, variable: str, sides: tuple[str, str], text: str
) -> None:
    """Tuned neurons in the plane of the linear discriminants, coloured by d' of a variable (Fig. 5B).

    With all axes, which are among the rows of `fig5b_angles`. `sides` are what positive and negative d' prefer, `text`
    is what stands over the panel.
    """
    table = by_neuron(neurons)
    first, second = (table[name] for name in COORDINATES)
    limit = float(np.quantile(np.abs(table[variable]), 0.95))
    colours = ScalarMappable(Normalize(-limit, limit), DIVERGING)
    axes.scatter(first, second, s=DOT, c=colours.to_rgba(table[variable]), edgecolors="0.6", lw=0.2)
    length = 0.85 * float(np.hypot(first, second).max())  # names stand where hardly any neuron is
    for metric, rows in details[details["metric"].str.startswith("axis of ")].groupby("metric", sort=False):
        name = metric.removeprefix("axis of ")
        end = length * rows.set_index("variant").loc[list(COORDINATES), "value"].to_numpy()
        weight = 1.6 if name == variable else 0.8
        axes.annotate("", xy=end, xytext=(0, 0), arrowprops={"arrowstyle": "-|>", "lw": weight, "color": "black"})
        axes.update_datalim([1.25 * end])
        axes.annotate(name, xy=1.18 * end, ha="center", va="center", bbox={"fc": "white", "ec": "none", "pad": 0.5})
    axes.margins(0.12)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel="LD 1", ylabel="LD 2")
    axes.set_title(text, fontsize=7)
    label = f"d' of {variable}\n(+ {sides[0]}, - {sides[1]})"
    axes.figure.colorbar(colours, ax=axes, label=label, shrink=0.8, extend="both")


def shuffle_histogram(axes: Axes, draws: pd.DataFrame, label: str, p: float) -> None:
    """A statistic with shuffled labels, as a histogram, and as observed (draw 0), as a line with its p (Fig. 7, 8C)."""
    shuffled, observed = draws.loc[draws["draw"] > 0, "value"], float(draws.loc[draws["draw"] == 0, "value"].iloc[0])
    axes.hist(shuffled, bins=25, color=GREY, alpha=0.6, lw=0, label=f"shuffled ({len(shuffled)} times)")
    axes.axvline(observed, color=COLOURS["CalM"], lw=1.5, label="observed")
    axes.set_xlabel(f"{label}\nn = {draws['n'].iloc[0]} tuned neurons\np = {p:.2g}")


def confusion(axes: Axes, counts: pd.DataFrame, attribute: str, accuracy: float, chance: float) -> None:
    """Share of each true class (rows) of an attribute that was taken for each class, with the counts (Fig. 6).

    Over it the accuracy, and what it is with shuffled labels (chance).
    """
    table = counts.pivot_table(index="true", columns="predicted", values="value", sort=False)
    # Mouse 10 comes after 9.
    order = sorted(table.index, key=lambda name: (int(name) if str(name).isdigit() else 0, str(name)))
    table = table.loc[order, order].rename(index=LAYERS, columns=LAYERS)
    share = table.div(table.sum(axis=1), axis=0)
    annotations = table.to_numpy(int).astype(str)
    annotations[table.to_numpy() == 0] = ""  # empty cells leave the others readable
    bar = {"label": "share of true class", "shrink": 0.8}
    look = {"vmin": 0, "vmax": 1, "cmap": "Blues", "square": True, "lw": 0.3, "linecolor": "0.85"}
    sns.heatmap(share, ax=axes, annot=annotations, fmt="", cbar_kws=bar, **look)
    axes.set_title(f"accuracy {accuracy:.2f}, chance {chance:.2f}", fontsize=7)
    axes.set_xlabel(f"predicted {attribute} (n = {table.to_numpy(int).sum()} sessions)")
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
    """A score against the share of one thing that the transformer was trained with, a line for each variable.

    `chance` is what shuffled neurons reach, drawn as the top of a grey band over all variables; it may be empty.
    """
    for variant, line in rows.sort_values("share").groupby("variant", sort=False):
        look = {"ls": "--" if variant.startswith("true ") else "-", "marker": "o", "ms": 3}
        shade = READ.get(variant.split(" ")[-1], COLOURS["CalM"])
        axes.plot(line["share"], line["value"], color=shade, label=variant, **look)
    if len(chance):
        top = chance.groupby("share")["value"].max()
        axes.fill_between(top.index, 0, top, color=GREY, alpha=0.25, lw=0, label="shuffled (97.5 %)")
    shares = sorted(rows["share"].unique())
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{share:.3g}" for share in shares])
    axes.minorticks_off()
