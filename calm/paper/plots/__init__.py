"""Style and panels: tables and arrays in, drawn Axes out; nothing is computed here that a table should hold."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from calm.errors import CalmError
from calm.paper.results import summarise

COLUMN, PAGE = 85 / 25.4, 174 / 25.4  # inches: one and two columns of a journal page
GREY = "0.45"
_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _BROWN, _PINK, _, _YELLOW, _CYAN = sns.color_palette("colorblind").as_hex()
# Methods of forecasting and of decoding never meet in one figure, so that they may share colours.
COLOURS = {
    "CalM": _BLUE,
    **{"POCO": _RED, "TCN": _CYAN, "PatchTST": _GREEN, "iTransformer": _PURPLE, "ridge VAR": _BROWN},
    **{"persistence": _ORANGE, "decay": _YELLOW, "mean trial": _PINK},
    **{"GLM": _BROWN, "RRR": _PURPLE, "POYO+": _RED},
    "ceiling": GREY,
}
CEILING_DASHES = ("--", ":", "-.")


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


def colour(label: str) -> str:
    """Colour of `method` or of `method, variant`; the same in every figure."""
    return COLOURS.get(label.split(",")[0], GREY)


def legend_above(axes: Axes, columns: int) -> None:
    """Put the legend above the axes, where it hides no data."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, handlelength=1.5, columnspacing=1.2)


def join_legends(axes: Sequence[Axes]) -> None:
    """One legend above the figure in place of one above each Axes."""
    drawn = [panel for panel in axes if panel.get_legend() is not None]
    if drawn:
        handles, names = drawn[0].get_legend_handles_labels()
        drawn[0].figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    for panel in drawn:
        panel.get_legend().remove()


def bars(axes: Axes, table: pd.DataFrame, order: Sequence[str], label: str, category: str = "method") -> None:
    """Mean and standard error over sessions, a dot for each session, and ceilings as horizontal lines (Fig. 1B, 3B).

    Args:
        axes: to draw on.
        table: results of one metric; every variant of a method gets a bar of its own.
        order: values of `category`, from left to right.
        label: of the value, with its unit if it has one.
        category: column that tells the bars apart, `method` or `split`.

    Raises:
        CalmError: the table lacks one of `order`.
    """
    if missing := [name for name in order if name not in set(table[category])]:
        raise CalmError(f"There are no results for {', '.join(missing)}: compute them, or leave them out of `order`.")
    keys = list(dict.fromkeys((category, "method", "variant")))
    groups = summarise(table, keys).set_index(category).loc[list(order)].reset_index()
    for position, group in enumerate(groups.itertuples()):
        draw_bar(axes, position, group.mean, group.sem, colour(group.method))
        draw_sessions(axes, position, sessions_of(table, {key: getattr(group, key) for key in keys}))
    crowded = len(groups) > 4
    joined = groups[category] + (", " if crowded else "\n") + groups["variant"]
    names = groups[category].where(groups["variant"] == "", joined)
    axes.set_xticks(range(len(names)), names, rotation=45 * crowded, ha="right" if crowded else "center")
    if crowded:
        for tick in axes.get_xticklabels():
            tick.set_rotation_mode("anchor")
    axes.set_ylabel(label)
    axes.set_xlabel(sessions_text(groups["n"]))
    draw_ceilings(axes, table[table["method"] == "ceiling"])


def sessions_of(table: pd.DataFrame, group: Mapping[str, str]) -> Float[np.ndarray, " session"]:
    """One value per session of a group, seeds averaged."""
    rows = table[np.logical_and.reduce([table[key] == value for key, value in group.items()])]
    return rows.groupby("session", sort=False)["value"].mean().to_numpy(dtype=float)


def draw_bar(axes: Axes, position: int, mean: float, sem: float, colour: str) -> None:
    """One bar with its standard error, which a single session does not have."""
    error = None if np.isnan(sem) else sem
    axes.bar(position, mean, width=0.7, color=colour, alpha=0.75, yerr=error, error_kw={"lw": 0.8, "capsize": 2})


def draw_sessions(axes: Axes, position: int, values: Float[np.ndarray, " session"]) -> None:
    """A dot for each session, spread over the bar's width."""
    spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
    axes.plot(position + spread, values, "o", ms=2.2, mfc="white", mec="0.2", mew=0.5, zorder=3)


def sessions_text(counts: pd.Series) -> str:
    """What bars, whiskers and dots are, with n; a single session has no whiskers."""
    fewest, most = counts.min(), counts.max()
    if most == 1:
        return "n = 1 session"
    return f"mean ± s.e.m.\ndots: n = {fewest if fewest == most else f'{fewest} to {most}'} sessions"


def draw_ceilings(axes: Axes, ceilings: pd.DataFrame) -> None:
    """Horizontal lines at the mean of each ceiling, named in a legend above."""
    if ceilings.empty:
        return
    for ceiling, dashes in zip(summarise(ceilings, ["variant"]).itertuples(), CEILING_DASHES, strict=False):
        axes.axhline(ceiling.mean, color=GREY, linestyle=dashes, lw=0.8, label=f"ceiling, {ceiling.variant}")
    legend_above(axes, columns=2)


def example_traces(
    axes: Sequence[Axes],
    time: Float[np.ndarray, " frame"],
    true: Float[np.ndarray, "neuron frame"],
    forecasts: Mapping[str, Float[np.ndarray, "neuron horizon"]],
    context_end: float,
    spread: tuple[Float[np.ndarray, "neuron horizon"], Float[np.ndarray, "neuron horizon"]] | None = None,
) -> None:
    """One trial, one neuron per Axes, its context shaded: the true trace and what each method forecasts (Fig. 3E).

    Args:
        axes: one for each neuron, top to bottom.
        time: of every frame of the trial, in s.
        true: traces of the trial, in z-scores.
        forecasts: by method, of the last frames of the trial.
        context_end: where the known part ends, in s.
        spread: bounds of the central 80 % of CalM's sampled rollouts, drawn as a band.
    """
    for neuron, panel in enumerate(axes):
        panel.axvspan(time[0], context_end, color="0.92", lw=0, label="context")
        panel.plot(time, true[neuron], color="black", lw=0.8, label="true")
        if spread is not None:
            low, high = (bound[neuron] for bound in spread)
            panel.fill_between(
                time[-len(low) :], low, high, color=COLOURS["CalM"], alpha=0.2, lw=0, label="80 % of samples"
            )
        for label, forecast in forecasts.items():
            panel.plot(time[-forecast.shape[1] :], forecast[neuron], color=colour(label), label=label)
    finish_stack(axes, "neuron {}\n(z-score)")


def reconstructions(
    axes: Sequence[Axes],
    time: Float[np.ndarray, " frame"],
    true: Float[np.ndarray, "neuron frame"],
    reconstructed: Float[np.ndarray, "neuron frame"],
    correlations: Float[np.ndarray, " neuron"],
) -> None:
    """True traces and their reconstruction from tokens, one neuron per Axes, with its correlation (Fig. 1C).

    `time` is in s, the traces in z-scores.
    """
    for neuron, panel in enumerate(axes):
        panel.plot(time, true[neuron], color="black", lw=0.8, label="true")
        panel.plot(time, reconstructed[neuron], color=COLOURS["CalM"], label="reconstructed")
        panel.set_title(f"r = {correlations[neuron]:.2f}", loc="right", fontsize=6, pad=1)
    finish_stack(axes, "neuron {}\n(z-score)")


def finish_stack(axes: Sequence[Axes], label: str) -> None:
    """Label Axes that stand on top of each other: one time axis below, one legend above the figure."""
    for neuron, panel in enumerate(axes):
        panel.set_ylabel(label.format(neuron + 1))
        panel.margins(x=0)
        panel.tick_params(labelbottom=panel is axes[-1])
    axes[-1].set_xlabel("time in trial (s)")
    handles, names = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, names, loc="outside upper center", ncols=len(names), handlelength=1.5)


def loss_curves(axes: Axes, history: pd.DataFrame, val_label: str) -> None:
    """Training loss, left axis, and validation score, right axis, by epoch (columns `epoch`, `loss`, `val`)."""
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    validated = history.dropna(subset="val")
    axes.plot(history["epoch"], history["loss"], color=GREY)
    right.plot(validated["epoch"], validated["val"], color=COLOURS["CalM"], marker="o", ms=2)
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss", color=GREY)
    right.set_ylabel(val_label, color=COLOURS["CalM"])


def codebook_usage(axes: Axes, counts: Int[np.ndarray, " code"]) -> None:
    """Share of the tokens that each code takes, most used first, beside an even share."""
    share = 100 * np.sort(counts)[::-1] / counts.sum()
    axes.bar(np.arange(1, len(counts) + 1), share, width=1.0, color=COLOURS["CalM"], lw=0)
    axes.axhline(100 / len(counts), color="0.2", linestyle="--", lw=0.8, label="even share")
    axes.set_xlabel(f"code, by rank ({np.count_nonzero(counts)} of {len(counts)} in use)")
    axes.set_ylabel("share of tokens (%)")
    axes.set_xlim(0, len(counts) + 1)
    axes.legend(loc="upper right")


def correlation_over_time(axes: Axes, table: pd.DataFrame) -> None:
    """Mean correlation over sessions at each time since the end of the context, a line for each method and variant.

    Args:
        axes: to draw on.
        table: rows of one split, as `LagRow` (column `seconds`).
    """
    dashes = iter(CEILING_DASHES)
    for (method, variant), rows in table.groupby(["method", "variant"], sort=False):
        mean = rows.groupby("seconds")["value"].mean()
        label, line = ", ".join(filter(None, (method, variant))), next(dashes) if method == "ceiling" else "-"
        axes.plot(mean.index, mean, color=colour(method), linestyle=line, label=label)
    axes.axhline(0, color="0.8", lw=0.6, zorder=0)
    axes.set_xlabel("time since end of context (s)")
    axes.set_ylabel("correlation over trials,\nmean over neurons")
    axes.margins(x=0)
    legend_above(axes, columns=3)
