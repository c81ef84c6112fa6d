"""Panels of the notebooks on data, tokenizer and pretraining: recordings, their task and truth, groups of sessions."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from calm.paper.plots import COLOURS, GREY, draw_bar, draw_sessions, legend_above, sessions_of
from calm.paper.results import summarise

_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _BROWN, _PINK, _, _YELLOW, _CYAN = sns.color_palette("colorblind").as_hex()
CHOICES = {"left": _BLUE, "right": _ORANGE}
CUES = {"black": "-", "white": "--"}
SOURCES = {"cue": "black", "choice": _BLUE, "position": _GREEN, "speed": _ORANGE, "latent": _PURPLE}
GROUPS = {"held-in": COLOURS["CalM"], "held-out": _CYAN}
TRAINED = {"with scheduled sampling": COLOURS["CalM"], "without": _RED}  # variants of a transformer
SPLIT_LINES = {"train": ":", "test": "-"}
SPACING = 5.0  # sd between channels that are drawn above each other
SMALL = {"ha": "center", "va": "bottom", "fontsize": 6}  # of numbers above bars
WINDOW = 15  # trials of a running mean
BETWEEN = "0.75"  # grey of borders between trials


def six_bars(axes: Axes, table: pd.DataFrame, splits: Sequence[str], label: str) -> None:
    """Mean (written above) and standard error over sessions, a dot for each, held-in beside held-out ones (Fig. 1B).

    Args:
        axes: to draw on.
        table: results of one metric; held-in or held-out is the variant.
        splits: from left to right.
        label: of the value, with its unit if it has one.
    """
    groups = [group for group in GROUPS if (table["variant"] == group).any()]
    starts = [place * (len(groups) + 1) for place in range(len(splits))]
    for place, group in enumerate(groups):
        rows = table[table["variant"] == group]
        means = summarise(rows, ["split"]).set_index("split")
        for start, split in zip(starts, splits, strict=True):
            draw_bar(axes, start + place, means.loc[split, "mean"], means.loc[split, "sem"], GROUPS[group])
            values = sessions_of(rows, {"split": split})
            draw_sessions(axes, start + place, values)
            height = max(values.max(), 0)
            axes.annotate(
                f"{means.loc[split, 'mean']:.3f}", (start + place, height), (0, 3), textcoords="offset points", **SMALL
            )
        count = int(means["n"].max())
        axes.bar(0, 0, color=GROUPS[group], alpha=0.75, label=f"{group} (n = {count} session{'s' * (count > 1)})")
    axes.set_xticks(np.array(starts) + (len(groups) - 1) / 2, splits)
    axes.tick_params(bottom=False)
    axes.set_ylabel(label)
    axes.set_xlabel("bars: mean ± s.e.m. over sessions, dots: sessions")
    legend_above(axes, columns=2)


def trial_borders(axes: Axes, starts: Float[np.ndarray, " trial"], arms: Float[np.ndarray, " _trial"]) -> None:
    """Lines where trials start, dotted ones where the mouse enters the arm; both in s."""
    for start in starts:
        axes.axvline(start, color=BETWEEN, lw=0.8, zorder=0)
    for arm in arms:
        axes.axvline(arm, color=BETWEEN, lw=0.6, linestyle=":", zorder=0)


def trial_strip(axes: Axes, edges: Float[np.ndarray, " edge"], trials: pd.DataFrame) -> None:
    """A box for each trial in the colour of its cue, and in it rule and choice; choices that were wrong are red.

    Args:
        axes: to draw on.
        edges: start of each trial and end of the last, s.
        trials: the rows of these trials, of the layout of DANDI:000579.
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
        below.fill_between(time, rate, color=_ORANGE, alpha=0.45, lw=0)
        below.set_ylim(0, 10)
        below.set_yticks([0, 5])
        below.spines["right"].set_visible(True)
        below.tick_params(colors=_ORANGE)
        below.set_ylabel("rate\n(spikes/s)", color=_ORANGE)
        axes.set_zorder(below.get_zorder() + 1)
        axes.patch.set_visible(False)


def channels(
    axes: Axes, time: Float[np.ndarray, " frame"], values: Float[np.ndarray, "frame behaviour"], names: Sequence[str]
) -> None:
    """Behavioural channels in z-scores, one above the other; the first is at the top."""
    for place, name in enumerate(reversed(names)):
        column = len(names) - 1 - place
        axes.plot(time, values[:, column] + SPACING * place, lw=0.7, color=GREY, label=name)
    axes.set_yticks(SPACING * np.arange(len(names)), list(reversed(names)))
    axes.tick_params(left=False)
    axes.margins(x=0)


def blocks(rule: Bool[np.ndarray, " trial"]) -> list[tuple[int, int]]:
    """First trial of each block of one rule, and the one behind its last."""
    edges = [0, *(np.flatnonzero(np.diff(rule)) + 1).tolist(), len(rule)]
    return list(itertools.pairwise(edges))


def share_correct(axes: Axes, trials: pd.DataFrame) -> None:
    """Running share of correct trials of a session in the layout of DANDI:000579, blocks of rule A shaded."""
    rule = trials["is_ruleA"].to_numpy(bool)
    for start, stop in blocks(rule):
        axes.axvspan(start - 0.5, stop - 0.5, color="0.92" if rule[start] else "white", lw=0, zorder=0)
        axes.text((start + stop - 1) / 2, 1.06, f"rule {'A' if rule[start] else 'B'}", ha="center", fontsize=6)
    correct = trials["is_correct"].astype(float).rolling(WINDOW, center=True, min_periods=1).mean()
    axes.plot(np.arange(len(trials)), correct, color=_GREEN)
    axes.axhline(0.5, color="0.6", lw=0.6, linestyle="--", zorder=1)
    axes.set_ylim(0, 1.03)
    axes.set_xlim(-0.5, len(trials) - 0.5)
    axes.set_ylabel(f"share correct\n(of {WINDOW} trials)")


def cues_and_choices(axes: Axes, trials: pd.DataFrame) -> None:
    """Ticks for cue and choice of each trial of a session in the layout of DANDI:000579, and for wrong choices."""
    black, left = trials["is_cueB"].to_numpy(bool), trials["is_choL"].to_numpy(bool)
    rows = {"black": (black, "black"), "white": (~black, "0.6")}
    rows |= {name: (which, CHOICES[name]) for name, which in (("left", left), ("right", ~left))}
    rows["wrong"] = (~trials["is_correct"].to_numpy(bool), _RED)
    for place, (which, shade) in enumerate(reversed(rows.values())):
        axes.plot(np.flatnonzero(which), np.full(which.sum(), place), "|", ms=5, mew=0.8, color=shade)
    axes.set_yticks(range(len(rows)), list(reversed(rows)))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")


def before_preparation(
    axes: Axes,
    time: Float[np.ndarray, " frame"],
    recorded: Float[np.ndarray, " frame"],
    smoothed: Float[np.ndarray, " frame"],
    scale: tuple[float, float],
) -> None:
    """A neuron's dF/F as recorded and smoothed, and the z-scores of the latter, given mean and sd (`scale`)."""
    axes.plot(time, recorded, color="0.65", lw=0.6, label="as recorded")
    axes.plot(time, smoothed, color="black", label="smoothed")
    mean, sd = scale
    right = axes.secondary_yaxis("right", functions=(lambda raw: (raw - mean) / sd, lambda score: mean + score * sd))
    right.set_ylabel("z-score of smoothed")
    axes.set_ylabel("dF/F")
    axes.margins(x=0)
    legend_above(axes, columns=2)


def condition_averages(axes: Axes, rows: pd.DataFrame) -> None:
    """One neuron's mean z-score (band: s.e.m.) around the moment the mouse enters the arm, by cue and choice.

    Args:
        axes: to draw on.
        rows: of this neuron, as of `calm.paper.experiments.inspection.average_rows`.
    """
    for (cue, choice), part in rows.groupby(["cue", "choice"]):
        shade = CHOICES[choice]
        axes.fill_between(
            part["seconds"], part["value"] - part["sem"], part["value"] + part["sem"], color=shade, alpha=0.15, lw=0
        )
        label = f"{cue}, {choice} (n = {part['n'].max()})"
        axes.plot(part["seconds"], part["value"], color=shade, linestyle=CUES[cue], label=label)
    axes.axvline(0, color=BETWEEN, lw=0.6, linestyle=":", zorder=0)
    axes.set_xticks([-4, 0, 4])
    axes.set_xlabel("time from entering\nthe arm (s)")
    axes.margins(x=0)


def drive_parts(axes: Axes, time: Float[np.ndarray, " frame"], parts: pd.DataFrame) -> None:
    """What drives a synthetic neuron: a line for each column of `calm.synthetic.truth.drive_sources`, the baseline apart."""
    for name, shade in SOURCES.items():
        axes.plot(time, parts[name], color=shade, lw=0.8, label=name)
    axes.axhline(0, color="0.8", lw=0.6, zorder=0)
    axes.set_ylabel("drive")
    axes.margins(x=0)
    legend_above(axes, columns=len(SOURCES))


def under_noise(
    axes: Axes,
    time: Float[np.ndarray, " frame"],
    recorded: Float[np.ndarray, " frame"],
    clean: Float[np.ndarray, " frame"],
) -> None:
    """A synthetic neuron's dF/F as recorded, and without imaging noise."""
    axes.plot(time, recorded, color="0.65", lw=0.6, label="as recorded")
    axes.plot(time, clean, color=_ORANGE, label="without noise")
    axes.set_ylabel("dF/F")
    axes.margins(x=0)
    axes.legend(loc="upper right", ncols=2)


def gap_lines(axes: Axes, rows: pd.DataFrame, label: str) -> None:
    """Mean over sessions of one metric at each time since the end of the context, for each variant and split.

    Args:
        axes: to draw on.
        rows: as `LagRow`, of the variants TRAINED.
        label: of the metric, with its unit.
    """
    for variant, shade in TRAINED.items():
        for split, line in SPLIT_LINES.items():
            own = rows[(rows["variant"] == variant) & (rows["split"] == split)]
            mean = own.groupby("seconds")["value"].mean()
            axes.plot(mean.index, mean, color=shade, linestyle=line, label=f"{variant}, {split}")
    axes.set_xlabel(f"time since end of context (s)\nmean over sessions, n = {rows['session'].nunique()}")
    axes.set_ylabel(label)
    axes.margins(x=0)
