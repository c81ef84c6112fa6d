"""Panels of decoding: dots by behavioural channel, R2 by the share of labelled trials and by look-ahead."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from calm.errors import CalmError
from calm.paper.plots import (
    check_methods,
    colour,
    dashes,
    draw_ceilings,
    join_legends,
    legend_above,
    sessions_text,
    spread,
)
from calm.paper.plots.dots import dots
from calm.paper.results import summarise


def channel_dots(
    axes: Sequence[Axes], table: pd.DataFrame, order: Sequence[str], channels: Sequence[str], label: str, metric: str
) -> None:
    """Each method's `r2`, `r2 over frames`, `mse` or `corr`, an Axes for each behavioural channel (Fig. 4B, 4C).

    Methods of `order` with all their variants from the top, as `dots`; ceilings are vertical lines.

    Raises:
        CalmError: there is no such metric of a channel, or none of a method.
    """
    for panel, channel in zip(axes, channels, strict=True):
        rows = table[(table["metric"] == f"{metric} {channel}") & table["value"].notna()]
        if rows.empty:
            raise CalmError(f"There is no {metric} of {channel}: score the decoders first, or choose another channel.")
        check_methods(rows, order)
        names = rows[["method", "variant"]].drop_duplicates().set_index("method", drop=False).loc[list(order)]
        dots(panel, rows[rows["method"] != "ceiling"], list(names.itertuples(index=False, name=None))[::-1], label)
        draw_ceilings(panel, rows[rows["method"] == "ceiling"], upright=True)
        panel.axvline(0, color="0.2", lw=0.6, zorder=0)
        panel.set_title(channel)
        if panel is not axes[0]:
            panel.set_yticks([])
        if panel is not axes[len(axes) // 2]:
            panel.set_xlabel(label)  # once is enough for what the dots are
    join_legends(axes)


def share_curve(axes: Axes, table: pd.DataFrame, label: str) -> None:
    """Mean over sessions by the share of training trials whose behaviour is known, a line for each method and variant.

    Whiskers are the standard error over sessions, which a single one does not have.
    """
    percent = table.assign(percent=100 * table["share"])
    draw_lines(axes, percent, "percent", "training trials with known behaviour (%)", label)
    axes.set_xscale("log")
    shares = sorted(percent["percent"].unique())
    axes.set_xticks(shares, [f"{share:g}" for share in shares])
    axes.minorticks_off()


def look_ahead_curve(axes: Axes, table: pd.DataFrame, label: str) -> None:
    """The same by the frames after the present one that a decoder sees."""
    draw_lines(axes, table, "look_ahead", "frames seen after the present one", label)


def draw_lines(axes: Axes, table: pd.DataFrame, column: str, column_label: str, label: str) -> None:
    """Mean over sessions and its standard error by a column, a line for each method and variant, a little aside."""
    groups = summarise(table, ["method", "variant", column]).sort_values(column, kind="stable")
    lines = groups.groupby(["method", "variant"], sort=False)
    for ((method, variant), rows), points in zip(lines, spread(lines.ngroups, 4.0), strict=True):
        name = ", ".join(filter(None, (method, variant)))
        line, shade = dashes(name), colour(method)
        look = {"fmt": "none", "ecolor": shade, "capsize": 2}
        whiskers = axes.errorbar(rows[column], rows["mean"], rows["sem"].fillna(0), **look)
        fill = shade if line == "-" else "white"
        means = axes.plot(rows[column], rows["mean"], line, color=shade, marker="o", ms=3, mfc=fill, label=name)
        for drawn in (*means, *whiskers.get_children()):
            drawn.set_transform(axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans))
    axes.set_xlabel(f"{column_label}\n{sessions_text(table)}")
    axes.set_ylabel(label)
    legend_above(axes, columns=2)
