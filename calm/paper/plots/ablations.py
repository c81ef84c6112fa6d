"""Panels of Tables 7 and 8: what each variant scores, and what each part adds."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from calm.paper.plots import COLOURS, GREY, spread
from calm.paper.results import read_published

OFFSET = 0.34  # between the metrics of a variant, in rows
BESIDE = 0.08  # dots above, and mean and interval below the middle, so that none hides the other
SHADES = (COLOURS["CalM"], "0.25")  # of the first and the second metric


def places(count: int) -> Float[np.ndarray, " metric"]:
    """Where the metrics of a variant lie, around its row."""
    return (np.arange(count) - (count - 1) / 2) * OFFSET


def name_rows(axes: Axes, variants: Sequence[str], label: str) -> None:
    """The variants from top to bottom, a faint line for each, and what is below."""
    axes.set_yticks(range(len(variants)), [name.replace("without ", "without\n") for name in variants])
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for row in range(1, len(variants)):
        axes.axhline(row - 0.5, color="0.92", lw=0.6, zorder=-1)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel(label)


def dots(axes: Axes, values: pd.Series, row: float, colour: str) -> None:
    """Small open dots, spread a little across the row."""
    axes.plot(values, row + spread(len(values), 0.05), "o", ms=2.4, mfc="white", mec=colour, mew=0.6, zorder=3)


def variant_scores(axes: Axes, rows: pd.DataFrame, metrics: Mapping[str, str], label: str) -> None:
    """Every training (mean over sessions) as a dot, their mean as a line, for each variant and metric.

    `metrics` are those that are shown, with their names in the legend; crosses, beside forecasts, are what the
    paper's table has for its own mice.
    """
    variants = list(dict.fromkeys(rows["variant"]))
    for number, (metric, place) in enumerate(zip(metrics, places(len(metrics)), strict=True)):
        shown = rows[rows["metric"] == metric]
        trainings = shown.groupby(["variant", "seed"])["value"].mean()
        means = trainings.groupby("variant").mean()[variants]
        for row, variant in enumerate(variants):
            dots(axes, trainings[variant], row + place, SHADES[number])
        ends = np.arange(len(variants)) + place + np.array([[-0.15], [0.15]])
        axes.vlines(means, *ends, color=SHADES[number], lw=1.6, label=metrics[metric])
    if "corr" in metrics:
        draw_published(axes, rows["item"].iloc[0], variants)
    dot = f"dots: trainings (n = {rows['seed'].nunique()}), means over sessions (n = {rows['session'].nunique()})"
    name_rows(axes, variants, f"{label}\n{dot}\nline: mean")


def draw_published(axes: Axes, item: str, variants: Sequence[str]) -> None:
    """The forecast correlations of the paper's table, a grey cross for each variant that it has."""
    published = read_published().query("item == @item and metric == 'corr'").set_index("variant")["value"]
    values = published.reindex(variants)
    axes.plot(values, range(len(variants)), "x", color="0.5", ms=4, mew=0.8, label="the paper, its mice")


def variant_effects(
    axes: Axes, rows: pd.DataFrame, effects: pd.DataFrame, metrics: Mapping[str, str], label: str
) -> None:
    """Baseline minus variant: each pair of the same session and seed as a dot, their mean with its 95 % interval.

    The first variant is the baseline; means and intervals are those of `calm.paper.claims.ablations.ablation_effects`.
    """
    baseline, *variants = dict.fromkeys(rows["variant"])
    tested = effects[effects["variant"].isin(variants)].assign(row=lambda each: each["variant"].map(variants.index) + 1)
    for number, (metric, place) in enumerate(zip(metrics, places(len(metrics)), strict=True)):
        shown, colour = rows[rows["metric"] == metric], SHADES[number]
        paired = shown.pivot_table(index=["session", "seed"], columns="variant", values="value")
        for row, variant in enumerate(variants, start=1):
            dots(axes, paired[baseline] - paired[variant], row + place - BESIDE, colour)
        tests = tested[tested["metric"] == metric]
        interval = np.stack([tests["effect"] - tests["low"], tests["high"] - tests["effect"]])
        style = {"fmt": "D", "ms": 3.2, "color": colour, "capsize": 2, "lw": 1, "zorder": 2}
        axes.errorbar(tests["effect"], tests["row"] + place + BESIDE, xerr=interval, **style)
    axes.axvline(0, color=GREY, lw=0.6, zorder=0)
    pairs = f"dots: n = {rows.groupby(['session', 'seed']).ngroups} pairs, one per session and seed"
    unit = "trainings" if len(rows["seed"].unique()) > 1 else "sessions"
    below = f"diamond: mean, 95 % interval over {unit}"
    name_rows(axes, [baseline, *variants], f"{label}: baseline minus variant\n{pairs}\n{below}")


def variant_panels(
    axes: Sequence[Axes], rows: pd.DataFrame, effects: pd.DataFrame, metrics: Mapping[str, str], label: str
) -> None:
    """Scores on the left, differences on the right (Tables 7, 8); see `variant_scores` and `variant_effects`."""
    variant_scores(axes[0], rows, metrics, f"{label} (Pearson r)")
    variant_effects(axes[1], rows, effects, metrics, label)
    axes[1].tick_params(labelleft=False)
    if len(metrics) > 1:
        axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, handlelength=1.5)
