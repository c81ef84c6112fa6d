"""Panels of what the vocabulary is made of: codes by their level, their use, neighbours, and what comes after them."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from calm.paper.plots import COLOURS

INNER = 0.8  # of the space of a code that its frames take


def alphabet(axes: Axes, codes: pd.DataFrame) -> None:
    """The frames that each code is decoded to, on average, codes side by side from low to high."""
    windows = codes.pivot_table(index="code", columns="frame", values="value")
    across = np.linspace(-INNER / 2, INNER / 2, windows.shape[1])
    axes.axhline(0, color="0.8", lw=0.6, zorder=0)
    axes.plot(windows.index.to_numpy() + across[:, None], windows.to_numpy().T, color=COLOURS["CalM"], lw=0.9)
    axes.set_xlim(-1, len(windows))
    axes.set_xlabel("code, by its mean")
    axes.set_ylabel("decoded frames\n(z-score)")


def usage(axes: Axes, codes: pd.DataFrame) -> None:
    """Share of the tokens that each code is, in the same order, beside an even share of those in use."""
    counts = codes.drop_duplicates("code").set_index("code")["n"]
    axes.bar(counts.index, 100 * counts / counts.sum(), width=1.0, color=COLOURS["CalM"], lw=0)
    axes.axhline(100 / len(counts), color="0.2", linestyle="--", lw=0.8, label="even share")
    axes.set_xlim(-1, len(counts))
    axes.set_ylabel("share of\ntokens (%)")
    axes.legend(loc="upper right")


def neighbours(axes: Axes, pairs: pd.DataFrame, count: int) -> None:
    """A dot where a code has another as one of its nearest ones, the nearest darkest."""
    farthest = pairs["value"].max()
    axes.scatter(pairs["code"], pairs["other"], c=-pairs["value"], cmap="Blues", vmin=-1.3 * farthest, s=3, lw=0)
    axes.set_ylabel(f"its {farthest:.0f} nearest codes")
    square(axes, count)


def transitions(axes: Axes, pairs: pd.DataFrame, count: int) -> None:
    """How often each code is followed by each: share of its own followers, on a logarithmic scale."""
    table = np.full((count, count), np.nan)
    table[pairs["other"], pairs["code"]] = pairs["value"] / pairs.groupby("code")["value"].transform("sum")
    image = axes.imshow(table, origin="lower", cmap="Blues", norm=LogNorm(0.003, 1), interpolation="nearest")
    axes.figure.colorbar(image, ax=axes, label="share of its followers", shrink=0.8, extend="min")
    axes.set_ylabel("the next token")
    square(axes, count)


def square(axes: Axes, count: int) -> None:
    """Both axes are codes, in the same order."""
    axes.set(xlim=(-0.5, count - 0.5), ylim=(-0.5, count - 0.5), xlabel="code, by its mean", aspect="equal")
