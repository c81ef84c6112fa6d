"""Panels of the notebooks on data, tokenizer and pretraining: recordings, their task and truth, groups of sessions."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from scipy.stats import sem

from calm.paper.plots import COLOURS, GREY, draw_mean_over_time, legend_above, spread

# Colours of what is no method, so that none of them is a method's: kinds of trials, drives, groups.
_TEAL, _WINE, _OLIVE, _ROSE, _INDIGO, _OCHRE = "#44aa99", "#882255", "#999933", "#cc6677", "#332288", "#b8860b"
CHOICES = {"left": _TEAL, "right": _WINE}
CUES = {"black": "-", "white": "--"}
CUE_COLOURS = {"black": "0.1", "white": "0.62"}
TRACES = {"cue": "0.1", "choice": _TEAL, "position": _OLIVE, "speed": _ROSE, "latent": _INDIGO}  # of the drive
TRACES |= {"as recorded": "0.65", "smoothed": "black", "without noise": _OCHRE, "rate": _OCHRE}
GROUPS = {"held-in": COLOURS["CalM"], "held-out": _OLIVE}
TRAINED = {"with scheduled sampling": COLOURS["CalM"], "without": _ROSE}  # variants of a transformer
SPLIT_LINES = {"train": ":", "test": "-"}
SPACING = 5.0  # sd between channels that are drawn above each other
WINDOW = 15  # trials of a running mean
BETWEEN = "0.75"  # grey of borders between trials


def group_dots(axes: Axes, table: pd.DataFrame, label: str) -> None:
    """Mean (written above) and standard error over sessions, a dot for each, held-in left of held-out ones (Fig. 1B).

    For each value of the column `kind`, from left to right. The axis begins where the values do, not at 0.
    """
    kinds, groups = list(dict.fromkeys(table["kind"])), [group for group in GROUPS if (table["group"] == group).any()]
    for place, group in enumerate(groups):
        shade, shift = GROUPS[group], 0.4 * (place - (len(groups) - 1) / 2)
        rows = table[table["group"] == group]
        for position, kind in enumerate(kinds):
            values = rows[rows["kind"] == kind].groupby("session", sort=False)["value"].mean().to_numpy(float)
            error = sem(values) if len(values) > 1 else None
            axes.plot(position + shift + spread(len(values), 0.12), values, "o", ms=2, color=shade, alpha=0.5, mew=0)
            axes.errorbar(position + shift, values.mean(), yerr=error, fmt="_", ms=9, color=shade, capsize=2)
            above = {"textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 6}
            axes.annotate(f"{values.mean():.3f}", (position + shift, values.max()), (0, 3), **above)
        count = rows["session"].nunique()
        axes.plot([], [], "o", ms=4, color=shade, label=f"{group} (n = {count} session{'s' * (count > 1)})")
    axes.set_xticks(range(len(kinds)), kinds)
    axes.margins(x=0.06, y=0.12)
    axes.set_ylabel(label)


def trial_borders(axes: Axes, starts: Float[np.ndarray, " trial"], arms: Float[np.ndarray, " _trial"]) -> None:
    """Lines where trials start, dotted ones where the mouse enters the arm; both in s."""
    for start in starts:
        axes.axvline(start, color=BETWEEN, lw=0.8, zorder=0)
    for arm in arms:
        axes.axvline(arm, color=BETWEEN, lw=0.6, linestyle=":", zorder=0)


def trial_strip(axes: Axes, edges: Float[np.ndarray, " edge"], trials: pd.DataFrame) -> None:
    """A box for each trial (layout of DANDI:000579) in the colour of its cue, with rule and choice; wrong ones said.

    `edges` are the start of each trial and the end of the last, in s.
    """
    for start, stop, trial in zip(edges, edges[1:], trials.itertuples(), strict=False):
        face, text = ("black", "white") if trial.is_cueB else ("white", "black")
        axes.add_patch(Rectangle((start, 0), stop - start, 1, fc=face, ec="0.5", lw=0.8))
        words = f"rule {'A' if trial.is_ruleA else 'B'}: {'left' if trial.is_choL else 'right'}"
        wrong = "" if trial.is_correct else ", wrong"
        axes.text((start + stop) / 2, 0.45, words + wrong, color=text, ha="center", va="center", fontsize=6)
    axes.set_ylim(0, 1)
    axes.set_yticks([0.5], ["cue, rule\nand choice"])
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def trace_over_rate(
    axes: Axes,
    time: Float[np.ndarray, " frame"],
    trace: Float[np.ndarray, " frame"],
    rate: Float[np.ndarray, " frame"] | None,
) -> None:
    """A neuron's z-scored trace, and under it, on an axis of its own, its noise-free rate in spikes/s where known."""
    axes.plot(time, trace, color="black", lw=0.7)
    axes.margins(x=0)
    if rate is not None:
        below = axes.twinx()
        below.fill_between(time, rate, color=TRACES["rate"], alpha=0.45, lw=0)
        below.set_ylim(0, 10)
        below.set_yticks([0, 5])
        below.spines["right"].set_visible(True)
        below.tick_params(colors=TRACES["rate"])
        below.set_ylabel("rate\n(spikes/s)", color=TRACES["rate"])
        axes.set_zorder(below.get_zorder() + 1)
        axes.patch.set_visible(False)


def name_lines(figure: Figure, *, rate: bool, arms: bool) -> None:
    """A legend for traces, true rates and the borders of trials over a figure of consecutive trials."""
    handles = [Line2D([], [], color="black", lw=0.7, label="trace"), Line2D([], [], color=BETWEEN, label="next trial")]
    if arms:
        handles.append(Line2D([], [], color=BETWEEN, lw=0.8, linestyle=":", label="mouse enters the arm"))
    if rate:
        handles.append(Rectangle((0, 0), 1, 1, color=TRACES["rate"], alpha=0.45, lw=0, label="true rate"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def channels(
    axes: Axes, time: Float[np.ndarray, " frame"], values: Float[np.ndarray, "frame behaviour"], names: Sequence[str]
) -> None:
    """Behavioural channels in z-scores, one above the other; the first is at the top."""
    heights = SPACING * np.arange(len(names))[::-1]
    axes.plot(time, values + heights, lw=0.7, color=GREY)
    axes.set_yticks(heights, names)
    axes.tick_params(left=False)
    axes.margins(x=0)


def share_correct(axes: Axes, trials: pd.DataFrame) -> None:
    """Running share of correct trials of a session in the layout of DANDI:000579, blocks of rule A shaded."""
    rule = trials["is_ruleA"].to_numpy(bool)
    edges = [0, *(np.flatnonzero(np.diff(rule)) + 1).tolist(), len(rule)]
    for start, stop in itertools.pairwise(edges):
        axes.axvspan(start - 0.5, stop - 0.5, color="0.92" if rule[start] else "white", lw=0, zorder=0)
        axes.text((start + stop - 1) / 2, 1.06, f"rule {'A' if rule[start] else 'B'}", ha="center", fontsize=6)
    correct = trials["is_correct"].astype(float).rolling(WINDOW, center=True, min_periods=1).mean()
    axes.plot(np.arange(len(trials)), correct, color=GREY)
    axes.axhline(0.5, color="0.6", lw=0.6, linestyle="--", zorder=1)
    axes.set_ylim(0, 1.03)
    axes.set_xlim(-0.5, len(trials) - 0.5)
    axes.set_ylabel(f"share correct\n(of {WINDOW} trials)")


def cues_and_choices(axes: Axes, trials: pd.DataFrame) -> None:
    """Ticks for cue and choice of each trial of a session in the layout of DANDI:000579, and for wrong choices."""
    black, left = trials["is_cueB"].to_numpy(bool), trials["is_choL"].to_numpy(bool)
    rows = {"wrong choice": (~trials["is_correct"].to_numpy(bool), _ROSE)}
    rows |= {"right arm": (~left, CHOICES["right"]), "left arm": (left, CHOICES["left"])}
    rows |= {"white cue": (~black, CUE_COLOURS["white"]), "black cue": (black, CUE_COLOURS["black"])}
    for name, (chosen, shade) in rows.items():
        axes.plot(np.flatnonzero(chosen), [name] * chosen.sum(), "|", ms=5, mew=0.8, color=shade)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")


def traces(axes: Axes, time: Float[np.ndarray, " frame"], series: Mapping[str, Float[np.ndarray, " frame"]]) -> None:
    """A line for each of some traces of a neuron: of its dF/F, or of what drives a synthetic one; named in a legend."""
    for name, values in series.items():
        axes.plot(time, values, color=TRACES[name], lw=0.8, label=name)
    axes.margins(x=0)
    legend_above(axes, columns=len(series))


def z_score_axis(axes: Axes, mean: float, sd: float) -> None:
    """An axis on the right for the z-scores of what is drawn."""
    right = axes.secondary_yaxis("right", functions=(lambda raw: (raw - mean) / sd, lambda score: mean + score * sd))
    right.set_ylabel("z-score of smoothed")


def condition_averages(axes: Axes, rows: pd.DataFrame) -> None:
    """One neuron's mean z-score (band: s.e.m.) around the moment the mouse enters the arm, by cue and choice."""
    for (cue, choice), kind in rows.groupby(["cue", "choice"]):
        seconds, mean, sem = (kind[column] for column in ("seconds", "value", "sem"))
        axes.fill_between(seconds, mean - sem, mean + sem, color=CHOICES[choice], alpha=0.15, lw=0)
        name = f"{cue}, {choice} (n = {kind['n'].max()})"
        axes.plot(seconds, mean, color=CHOICES[choice], linestyle=CUES[cue], label=name)
    axes.axvline(0, color=BETWEEN, lw=0.8, linestyle=":", zorder=0, label="enters the arm")
    axes.set_xticks([-4, 0, 4])
    axes.set_xlabel("time from entering\nthe arm (s)")
    axes.margins(x=0)


def gap_lines(axes: Axes, rows: pd.DataFrame, label: str) -> None:
    """Mean over sessions of one metric at each time since the end of the context, for each of TRAINED and split."""
    for (variant, color), (split, linestyle) in itertools.product(TRAINED.items(), SPLIT_LINES.items()):
        shown = rows[(rows["variant"] == variant) & (rows["split"] == split)]
        draw_mean_over_time(axes, shown, f"{variant}, {split}", color=color, linestyle=linestyle)
    axes.set_xlabel(f"time since end of context (s)\nmean over sessions, n = {rows['session'].nunique()}")
    axes.set_ylabel(label)
