"""A series or table of an NWB file: what it is called, when its samples were taken, and its values in its unit."""

from collections.abc import Sequence

import numpy as np
from hdmf.container import AbstractContainer
from jaxtyping import Float
from pynwb import NWBFile, TimeSeries
from pynwb.ophys import RoiResponseSeries

from calm.data.recording import suits_single
from calm.errors import CalmError

PLACES = ("acquisition", "stimulus", "analysis")  # where a file has series that are in no processing module


def full_name(item: AbstractContainer) -> str:
    """`module/container/name`, or `acquisition/name`: how messages call a series or table."""
    names = [item.name]
    while not isinstance(item.parent, NWBFile):
        item = item.parent
        names.insert(0, item.name)
    place = [place for place in PLACES if any(item is other for other in getattr(item.parent, place).values())]
    return "/".join(place + names)


def find_item(candidates: Sequence[AbstractContainer], name: str, kind: str) -> AbstractContainer:
    """The one series or table called `name`: by the end of its full name, or of its container's."""
    full = [full_name(item) for item in candidates]
    for ends in (full, [where.rpartition("/")[0] for where in full]):
        matches = [index for index, where in enumerate(ends) if f"/{where}".endswith(f"/{name}")]
        if len(matches) == 1:
            return candidates[matches[0]]
        if matches:
            choice = ", ".join(sorted(full[index] for index in matches))
            raise CalmError(f"several {kind} are called {name!r}: choose one of {choice}.")
    raise CalmError(f"there is no {kind} called {name!r}: it has {', '.join(sorted(full)) or 'none at all'}.")


def is_numeric(series: TimeSeries) -> bool:
    """Whether the data are numbers, (frames,) or (frames, channels)."""
    return len(series.data.shape) <= 2 and series.data.dtype.kind in "biuf"


def check_numeric(series: TimeSeries) -> None:
    """Refuse what is no table of numbers."""
    if not is_numeric(series):
        raise CalmError(
            f"{full_name(series)} has data {series.data.shape} of type {series.data.dtype}: it must be numbers,"
            " (frames,) or (frames, channels)."
        )


def lies_across(series: TimeSeries) -> bool:
    """Whether traces are (ROIs, frames), against the standard, and nothing speaks against that."""
    if not isinstance(series, RoiResponseSeries) or len(series.data.shape) != 2:
        return False
    (rows, columns), times = series.data.shape, series.timestamps
    return rows == len(series.rois.data) != columns and (times is None or len(times) == columns)


def all_times(series: TimeSeries) -> Float[np.ndarray, " sample"]:
    """Times of a series in s, from its timestamps or its rate, whether or not they go with its data."""
    if series.timestamps is not None:
        return np.asarray(series.timestamps, dtype=float)
    return series.starting_time + np.arange(sample_count(series)) / series.rate


def sample_count(series: TimeSeries) -> int:
    """Number of samples that the data have."""
    return series.data.shape[1 if lies_across(series) else 0]


def sample_times(series: TimeSeries, *, least: int = 2) -> Float[np.ndarray, " sample"]:
    """Times of a series in s, checked against its data.

    Raises:
        CalmError: fewer than `least`, or another number than the data have, or not in order.
    """
    where, shape = full_name(series), series.data.shape
    times = all_times(series)
    if len(times) != sample_count(series) or len(times) < least:
        raise CalmError(f"{where} has data {shape} and {len(times)} timestamps: it needs one a frame, of two or more.")
    if not np.all(np.diff(times) >= 0):
        raise CalmError(f"the timestamps of {where} go backwards or are NaN: mend them.")
    return times


def in_units(series: TimeSeries, rows: slice) -> Float[np.ndarray, "frame channel"]:
    """Some frames of a series, in its unit; in double precision where single does not suit them."""
    data = np.asarray(series.data[:, rows].T if lies_across(series) else series.data[rows])
    data = data.reshape(len(data), *data.shape[1:] or (1,))
    scale, offset = float(series.conversion), float(series.offset)
    ends = np.stack([end.reduce(data) for end in (np.fmin, np.fmax)]).astype(float) if len(data) else np.empty((0, 1))
    suited = all(suits_single(each.T) for each in (ends, ends * scale + offset))
    values = data.astype(np.float32 if suited else float)
    values *= scale
    values += offset
    return values
