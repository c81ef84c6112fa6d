"""Style and panels: tables and arrays in, drawn Axes out; nothing is computed here that a table should hold."""

import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float
from matplotlib.axes import Axes
from scipy.stats import sem
from sklearn.metrics import r2_score

from calm.config.synthetic import SIMULATION
from calm.errors import CalmError
from calm.metrics import BANDS, central_band, pearson
from calm.paper.results import FINE_TUNED, summarise

COLUMN, PAGE = 85 / 25.4, 174 / 25.4  # inches: one and two columns of a journal page
ACROSS = 4  # names of a legend over a page
WIDEST_NAMES = 48  # characters of names side by side under bars, in the narrowest panels
GREY = "0.45"
_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _BROWN, _PINK, _, _YELLOW, _CYAN = sns.color_palette("colorblind").as_hex()
# Methods of forecasting and of decoding never meet in one figure, so that they may share colours.
COLOURS = {
    "CalM": _BLUE,
    FINE_TUNED: sns.color_palette("dark").as_hex()[0],  # a darker blue
    **{"POCO": _RED, "TCN": _CYAN, "PatchTST": _GREEN, "iTransformer": _PURPLE, "ridge VAR": _BROWN},
    "continuous patches": "#1b2a49",  # a dark blue: CalM's layers
    **{"persistence": _ORANGE, "decay": _YELLOW, "mean trial": _PINK},
    **{"GLM": _BROWN, "RRR": _PURPLE, "POYO+": _RED, "raw traces": _GREEN},
    "ceiling": GREY,
}
UPPER_RIGHT = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right", "fontsize": 6}
SCORES = {"r": pearson, "R²": r2_score}  # of the true series and a predicted one
DASHES = {  # by variant; solid without
    **{"linear head": "--", "one rollout": ":", "equal look-ahead": "-."},
    **{"known state": "--", "known rates": ":", "known rates, linear": "-."},  # ceilings
}


def use_style() -> None:
    """Set matplotlib to small type, thin lines, constrained layout and colours that colour-blind readers can tell."""
    sns.set_theme(
        context="paper",
        style="ticks",
        palette="colorblind",
        rc={
            **{f"{part}.labelsize": 7 for part in ("axes", "xtick", "ytick")},
            **{"font.size": 7, "axes.titlesize": 8, "legend.fontsize": 7, "figure.titlesize": 8},
            **{"axes.linewidth": 0.6, "lines.linewidth": 1.0, "patch.linewidth": 0.6},
            **{f"{axis}tick.major.{part}": size for axis in "xy" for part, size in (("width", 0.6), ("size", 2.5))},
            **{"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False},
            **{"figure.constrained_layout.use": True, "figure.dpi": 150, "savefig.dpi": 300},
            **{"pdf.fonttype": 42, "svg.fonttype": "none"},  # text stays text
        },
    )


def colour(name: str) -> str:
    """Colour of `method` or of `method, variant`; the same in every figure."""
    return COLOURS.get(name, COLOURS.get(name.split(",")[0], GREY))


def dashes(name: str) -> str:
    """Line style of `method, variant`, where two of one method are drawn as lines."""
    return DASHES.get(name.partition(", ")[2], "-")


def legend_above(axes: Axes, columns: int) -> None:
    """Put the legend above the axes, where it hides no data."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, handlelength=1.5, columnspacing=1.2)


def join_legends(axes: Sequence[Axes]) -> None:
    """One legend above the figure in place of one above each Axes."""
    drawn = [panel for panel in axes if panel.get_legend() is not None]
    if drawn:
        handles, names = drawn[0].get_legend_handles_labels()
        drawn[0].figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), ACROSS))
    for panel in drawn:
        panel.get_legend().remove()


def check_methods(table: pd.DataFrame, order: Sequence[str]) -> None:
    """Refuse to draw methods that have no results.

    Raises:
        CalmError: the table lacks one of `order`.
    """
    if missing := [name for name in order if name not in set(table["method"])]:
        raise CalmError(f"There are no results for {', '.join(missing)}: compute them, or leave them out of `order`.")


def bars(axes: Axes, table: pd.DataFrame, order: Sequence[str], label: str, *, chosen: str = "") -> None:
    """Mean and standard error over sessions, a dot for each session, and ceilings as horizontal lines (Fig. 3B).

    Of one metric, the methods of `order` from left to right; every variant of a method gets a bar of its own. Where one
    of CalM's variants is `chosen`, the others are pale and narrow.

    Raises:
        CalmError: the table lacks one of `order`.
    """
    check_methods(table, order)
    summary = summarise(table, ["method", "variant"]).set_index("method").loc[list(order)].reset_index()
    for position, bar in enumerate(summary.itertuples()):
        rows = table[(table["method"] == bar.method) & (table["variant"] == bar.variant)]
        aside = bool(chosen) and bar.method == "CalM" and bar.variant != chosen
        draw_bar(axes, position, rows, colour(bar.method), aside=aside)
    longest = summary[["method", "variant"]].map(len).to_numpy().max()  # line of a name on two lines
    crowded = len(summary) > 4 or len(summary) * longest > WIDEST_NAMES
    joined = summary["method"] + (", " if crowded else "\n") + summary["variant"]
    names = summary["method"].where(summary["variant"] == "", joined)
    if summary["n"].min() < summary["n"].max():
        names += " (n = " + summary["n"].astype(str) + ")"
    slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks(range(len(names)), names, **slant)
    axes.set_ylabel(label)
    axes.set_xlabel(sessions_text(table[table["method"].isin(order)], "dots: "))
    draw_ceilings(axes, table[table["method"] == "ceiling"])


def draw_bar(
    axes: Axes, position: int, rows: pd.DataFrame, colour: str, *, aside: bool = False
) -> Float[np.ndarray, " session"]:
    """One bar with its standard error, which a single session does not have, and a dot for each session.

    A bar that stands `aside` is pale and narrow.

    A line through a dot is the range of the trainings, whose mean it is. Returns the values of the dots.
    """
    sessions = rows.groupby("session", sort=False)["value"]
    values, places = sessions.mean().to_numpy(dtype=float), position + spread(sessions.ngroups, 0.2)
    error = sem(values) if len(values) > 1 else None
    whiskers = {"lw": 0.8, "capsize": 2}
    look = {"width": 0.4, "alpha": 0.3} if aside else {"width": 0.7, "alpha": 0.75}
    axes.bar(position, values.mean(), color=colour, yerr=error, error_kw=whiskers, **look)
    axes.vlines(places, sessions.min(), sessions.max(), color="0.2", lw=0.6, zorder=2.5)
    axes.plot(places, values, "o", ms=2.2, mfc="white", mec="0.2", mew=0.5, zorder=3)
    return values


def spread(count: int, width: float) -> Float[np.ndarray, " dot"]:
    """Places of dots around their middle, so that none hides another."""
    return np.linspace(-width, width, count) if count > 1 else np.zeros(count)


def shuffle_range(draws: pd.DataFrame, by: str) -> tuple[pd.Series, pd.Series]:
    """Bounds of the central 95 % of the shuffles (all draws but 0) of each method or variant."""
    shuffled = draws[draws["draw"] > 0].groupby(by, sort=False)["value"]
    return shuffled.quantile(0.025), shuffled.quantile(0.975)


def sessions_text(table: pd.DataFrame, mark: str = "") -> str:
    """What is averaged, with n: sessions (networks, if simulated), each of them over so many seeds.

    `mark` says what stands for a single one. Where there is but one there is no error.
    """
    counts = summarise(table, ["method", "variant"])["n"]
    fewest, most, seeds = int(counts.min()), int(counts.max()), table["seed"].nunique()
    kind = "network" if set(table["dataset"]) == {SIMULATION} else "session"
    of_each = f"{seeds} seed" + "s" * (seeds > 1)
    if most == 1:
        return f"n = 1 {kind}, {of_each}"
    n = fewest if fewest == most else f"{fewest} to {most}"
    return f"mean ± s.e.m.\n{mark}n = {n} {kind}s, {of_each} each"


def draw_ceilings(axes: Axes, ceilings: pd.DataFrame, *, upright: bool = False) -> None:
    """Lines at the mean of each ceiling, horizontal unless they are to be `upright`, named in a legend above."""
    if ceilings.empty:
        return
    for ceiling in summarise(ceilings, ["variant"]).itertuples():
        line = axes.axvline if upright else axes.axhline
        name = f"ceiling, {ceiling.variant}"
        line(ceiling.mean, color=GREY, linestyle=dashes(name), lw=0.8, label=name)
    legend_above(axes, columns=2)


def example_traces(
    axes: Sequence[Axes],
    time: Float[np.ndarray, " frame"],
    true: Float[np.ndarray, "series frame"],
    predicted: Mapping[str, Float[np.ndarray, "series _frame"]],
    names: Sequence[str],
    *,
    unit: str = "z-score",
    context: int = 0,
    samples: Float[np.ndarray, "sample series horizon"] | None = None,
    score: str = "",
) -> None:
    """Series of one trial, one per Axes: the true one, and what each method makes of it (Fig. 1C, 3E, 3F, 4D, 5C).

    Args:
        axes: one for each series, top to bottom.
        time: of every frame, in s.
        true: in this unit.
        predicted: by method, as `CalM, greedy`; of the frames after the context.
        names: of the series.
        unit: of the series.
        context: frames that the methods were given, which are shaded.
        samples: CalM's sampled rollouts: bands hold the central 50 and 90 % of them, and the first one is drawn.
        score: `r` or `R²`, written beside each series for each method, in its colour; empty writes none.
    """
    drawn = dict(predicted) if samples is None else {"CalM, one rollout": samples[0], **predicted}
    bands = {} if samples is None else {percent: central_band(samples, percent) for percent in BANDS}
    for place, panel in enumerate(axes):
        if context:
            panel.axvspan(time[0], time[context - 1], color="0.92", lw=0, label="context")
        panel.plot(time, true[place], color="black", lw=0.8, label="true")
        for percent, (low, high) in bands.items():
            look = {"color": COLOURS["CalM"], "alpha": 15 / percent, "lw": 0, "label": f"{percent} % of rollouts"}
            panel.fill_between(time[context : context + low.shape[1]], low[place], high[place], **look)
        for name, series in drawn.items():
            frames = time[context : context + series.shape[1]]
            panel.plot(frames, series[place], color=colour(name), linestyle=dashes(name), label=name)
        panel.set_ylabel(f"{names[place]}\n({unit})")
        if score:
            following = {name: series[place] for name, series in predicted.items()}
            write_scores(panel, score, true[place, context:], following)
        panel.margins(x=0)
        panel.tick_params(labelbottom=panel is axes[-1])
    axes[-1].set_xlabel("time in trial (s)")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 5), handlelength=1.5)


def write_scores(
    axes: Axes, score: str, true: Float[np.ndarray, " frame"], predicted: Mapping[str, Float[np.ndarray, " _frame"]]
) -> None:
    """A score of SCORES of each prediction, right of the axes, in its colour."""
    lines = [(score, "black")]
    for name, series in predicted.items():
        lines.append((f"{SCORES[score](true[: len(series)], series):.2f}", colour(name)))
    for place, (text, shade) in enumerate(lines):
        axes.text(1.01, 1 - place / len(lines), text, color=shade, transform=axes.transAxes, va="top", fontsize=6)


def loss_curves(
    axes: Axes, history: pd.DataFrame, val_label: str, loss: str = "loss", uniform: float | None = None
) -> None:
    """Training loss, left axis, and validation score, right axis, by step (columns `step`, that of the loss, `val`).

    `uniform` is the loss of a guess that knows nothing, as the logarithm of the number of codes: a dotted line.
    """
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    axes.plot(history["step"], history[loss], color=GREY)
    right.plot(history["step"], history["val"], color=COLOURS["CalM"], marker="o", ms=2)
    if uniform is not None:
        axes.axhline(uniform, color=GREY, linestyle=":", lw=0.8)
        axes.annotate("all codes equally likely", (1, uniform), (-3, 2), **UPPER_RIGHT)
    axes.set_xlabel("step")
    axes.set_ylabel(f"training {loss.replace('_', '-')}", color=GREY)
    right.set_ylabel(val_label, color=COLOURS["CalM"])


def letters(axes: Iterable[Axes]) -> None:
    """A bold capital over the left end of each of some panels."""
    for letter, panel in zip(string.ascii_uppercase, axes, strict=False):
        panel.set_title(letter, loc="left", weight="bold")


def fading(axes: Axes, table: pd.DataFrame) -> None:
    """Mean correlation over sessions at each time since the end of the context, a line for each method and variant.

    A line that ends before the longest trials do, as that of a method with a fixed horizon, ends in a dot.
    """
    for (method, variant), rows in table.dropna(subset="value").groupby(["method", "variant"], sort=False):
        name = ", ".join(filter(None, (method, variant)))
        line = (0, (4, 2)) if method == "ridge VAR" else dashes(name)  # it often lies on CalM: so both are seen
        mean = draw_mean_over_time(axes, rows, name, color=colour(method), linestyle=line)
        if mean.index[-1] < table.dropna(subset="value")["seconds"].max():
            axes.plot(mean.index[-1], mean.iloc[-1], "o", ms=4, color=colour(method))
    axes.axhline(0, color="0.8", lw=0.6, zorder=0)
    axes.set_xlabel(f"time since end of context (s)\n{sessions_text(table)}")
    axes.set_ylabel("correlation over trials,\nmean over neurons")
    legend_above(axes, columns=2)  # no more long names fit over a column


def trials_left(axes: Axes, table: pd.DataFrame) -> None:
    """How many trials of all sessions last until each time since the end of the context."""
    rows = table.drop_duplicates(["session", "seconds"])
    frames = rows.groupby(frames_of(rows))
    axes.fill_between(frames["seconds"].mean(), frames["n"].sum(), color="0.8", lw=0, step="mid")
    axes.set_ylabel("trials (n)")
    axes.set_ylim(bottom=0)


def draw_mean_over_time(axes: Axes, rows: pd.DataFrame, name: str, *, color: str, linestyle: Any) -> pd.Series:
    """A line through the means over sessions at each frame, and their standard error as a band.

    Returns the means by time, in s (column `seconds`), which is a mean over sessions, too.
    """
    rows = rows.groupby(["session", "seconds"], as_index=False)["value"].mean()  # over trainings
    frames = rows.groupby(frames_of(rows))
    mean = frames["value"].mean().set_axis(frames["seconds"].mean())
    error = frames["value"].sem().fillna(0).to_numpy()
    axes.fill_between(mean.index, mean - error, mean + error, color=color, alpha=0.15, lw=0)
    axes.plot(mean.index, mean, color=color, linestyle=linestyle, label=name)
    axes.margins(x=0)
    return mean


def frames_of(rows: pd.DataFrame) -> pd.Series:
    """Which frame of its session each time is: recordings differ a little in how long a frame takes."""
    return rows.groupby("session")["seconds"].rank(method="dense")
