"""Boxes, arrows, traces and tokens to draw the parts of the model with; places and sizes are in mm."""

import dataclasses
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from jaxtyping import Float, Int
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from calm.paper.plots import COLOURS, GREY

INK = "0.15"
MM = 1 / 25.4  # inches
BLUE = COLOURS["CalM"]
LIGHT, MEDIUM = (tuple(1 - share * (1 - np.array(to_rgb(BLUE)))) for share in (0.14, 0.35))
# What is trained for all sessions, for each session by itself, and what passes between them.
LOOKS = {
    "shared": {"fc": LIGHT, "ec": BLUE},
    "session": {"fc": "white", "ec": BLUE, "ls": (0, (3, 2))},
    "data": {"fc": "white", "ec": "white"},
}
MEANING = {"shared": "trained once, for all sessions", "session": "trained for each session"}

Length = float | int  # mm
Point = tuple[Length, Length]


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle, from its lower left corner, and the points at which arrows touch it."""

    x: Length
    y: Length
    width: Length
    height: Length

    @property
    def left(self) -> Point:
        """Middle of the left side."""
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> Point:
        """Middle of the right side."""
        return self.x + self.width, self.y + self.height / 2

    @property
    def top(self) -> Point:
        """Middle of the upper side."""
        return self.x + self.width / 2, self.y + self.height

    @property
    def bottom(self) -> Point:
        """Middle of the lower side."""
        return self.x + self.width / 2, self.y

    @property
    def centre(self) -> Point:
        """Of the rectangle."""
        return self.x + self.width / 2, self.y + self.height / 2


class Sketch:
    """An empty page to draw on.

    Args:
        width: mm.
        height: mm.
    """

    def __init__(self, width: Length, height: Length):
        self.figure = plt.figure(figsize=(width * MM, height * MM), layout="none")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def box(self, box: Box, text: str = "", look: str = "shared", size: int = 7) -> Box:
        """A rounded box with text in its middle; see LOOKS."""
        shape = FancyBboxPatch((box.x, box.y), box.width, box.height, boxstyle="round,pad=0,rounding_size=1.2")
        shape.set(lw=0.8, zorder=2, **LOOKS[look])
        self.axes.add_patch(shape)
        self.text(box.centre, text, size=size)
        return box

    def text(self, place: Point, text: str, *, size: int = 7, **look: str | float) -> None:
        """Words around a point."""
        self.axes.text(*place, text, size=size, **{"ha": "center", "va": "center", "color": INK, "zorder": 4, **look})

    def arrow(self, *points: Point, dashed: bool = False) -> None:
        """A line through points, with a head at the last one; dashed for what only happens in training."""
        look = {"color": INK, "lw": 0.8, "ls": "--" if dashed else "-", "zorder": 1}
        if len(points) > 2:
            self.axes.plot(*zip(*points[:-1], strict=True), solid_capstyle="butt", **look)
        head = {"arrowstyle": "-|>,head_width=1.6,head_length=3", "shrinkA": 0, "shrinkB": 0, "capstyle": "butt"}
        self.axes.add_patch(FancyArrowPatch(*points[-2:], **head, **look))

    def traces(
        self,
        box: Box,
        values: Float[np.ndarray, "neuron frame"],
        *,
        color: str = INK,
        like: Float[np.ndarray, "neuron frame"] | None = None,
    ) -> Box:
        """A line for each neuron, the first on top, scaled so that it, or what it is `like`, fills its part."""
        share, scale = box.height / len(values), values if like is None else like
        low, span = scale.min(axis=1, keepdims=True), np.ptp(scale, axis=1, keepdims=True)
        floors = box.y + share * np.arange(len(values))[::-1]
        heights = floors[:, None] + 0.9 * share * (values - low) / span
        time = np.linspace(box.x, box.x + box.width, values.shape[1])
        self.axes.plot(time, heights.T, color=color, lw=0.7, zorder=3)
        return box

    def frame(self, box: Box, text: str) -> None:
        """A thin line around parts that belong together, with words above its left corner."""
        self.axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, fc="none", ec=GREY, lw=0.6, zorder=0))
        self.text((box.x, box.y + box.height + 2.2), text, ha="left")

    def tokens(self, box: Box, codes: Int[np.ndarray, "neuron token"], count: int, future: int = 0) -> Box:
        """A square for each token in the colour of its code of `count`, the first neuron on top; the last ones open."""
        colours = sns.color_palette("crest", count)
        step, row = box.width / codes.shape[1], box.height / len(codes)
        for (neuron, token), code in np.ndenumerate(codes):
            corner = box.x + token * step, box.y + box.height - (neuron + 1) * row
            open_ = token >= codes.shape[1] - future
            face = {"fc": "white", "ec": GREY, "ls": ":"} if open_ else {"fc": colours[code], "ec": "white"}
            self.axes.add_patch(Rectangle(corner, step, row, lw=0.6, zorder=3, **face))
        return box

    def cells(self, box: Box, seen: Int[np.ndarray, "neuron token"]) -> Box:
        """A grid of neurons and steps: 0 empty, 1 what is seen, 2 what sees it."""
        step, row = box.width / seen.shape[1], box.height / len(seen)
        for (neuron, token), value in np.ndenumerate(seen):
            corner = box.x + token * step, box.y + box.height - (neuron + 1) * row
            face = ("white", MEDIUM, BLUE)[value]
            self.axes.add_patch(Rectangle(corner, step, row, fc=face, ec=GREY, lw=0.4, zorder=3))
        return box

    def meanings(self, x: Length, y: Length, looks: Sequence[str] = ("shared", "session")) -> None:
        """What the kinds of boxes mean, in a row that begins at x."""
        for look in looks:
            self.box(Box(x, y - 1.3, 5, 2.6), look=look)
            self.text((x + 6.5, y), MEANING[look], size=6, ha="left")
            x += 12 + 0.95 * len(MEANING[look])
