"""A recording: traces and behaviour of one session from beginning to end, on one clock."""

import dataclasses
import operator
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from calm.errors import CalmError

COMPARISON = re.compile(r"\s*(>=|<=|>|<)\s*(-?\d+\.?\d*)\s*")
OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
Value = bool | int | float | str  # in a column of the neuron table
SUBJECT = re.compile(r"sub-([A-Za-z0-9]+)")  # as the archives of NWB and BIDS files write it into paths
Kind = Literal["events", "steps", "samples"]  # of a time series, see `calm.data.resampling`
UNKNOWN_UNIT = "a.u."
SAFE = 1e15  # numbers up to here and, unless 0, down to its inverse have squares that single precision can hold
LEVELS = 256  # the fewest steps of a precision that a trace must reach over
SAME_RATE = 0.01  # relative difference in frames per second that is none
LONGEST_STEP = 1.5  # frames; between two frames that may each be stamped a quarter of a frame off


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """What a reader makes of a file, whether or not it says anything about trials.

    Attributes:
        name: of the session.
        subject: the animal.
        rate: frames per second.
        traces: fluorescence, as recorded or dF/F.
        timestamps: of the frames, in s.
        neurons: one row per neuron.
        behaviour: channels on the same frames.
        behaviour_names: one name per behavioural channel.
        unit: of the traces.
    """

    name: str
    subject: str
    rate: float
    traces: Float[np.ndarray, "neuron frame"]
    timestamps: Float[np.ndarray, " frame"]
    neurons: pd.DataFrame
    behaviour: Float[np.ndarray, "frame behaviour"]
    behaviour_names: tuple[str, ...] = ()
    unit: str = UNKNOWN_UNIT


def period(clock: Float[np.ndarray, " frame"]) -> float:
    """The usual time from one frame to the next in s."""
    return float(np.median(np.diff(clock)))


def gaps(clock: Float[np.ndarray, " frame"]) -> Bool[np.ndarray, " step"]:
    """Which steps from a frame to the next are longer than LONGEST_STEP."""
    return np.diff(clock) > LONGEST_STEP * period(clock)


def make_recording(
    traces: ArrayLike,
    *,
    name: str,
    subject: str = "unknown",
    rate: float | None = None,
    timestamps: ArrayLike | None = None,
    neurons: pd.DataFrame | None = None,
    behaviour: Mapping[str, ArrayLike] | None = None,
) -> Recording:
    """A recording of arrays that nobody has checked: traces (neurons, frames), behaviour (frames,) by its name.

    Raises:
        CalmError: anything but numbers; lengths that do not go together; neither rate nor timestamps, or both and they
            contradict each other.
    """
    values = numbers(traces, "the traces", ("neurons", "frames"))
    frames = values.shape[1]
    clock = make_clock(frames, rate, timestamps)
    channels = {channel: numbers(each, channel, ("frames",)) for channel, each in (behaviour or {}).items()}
    for channel, each in channels.items():
        if len(each) != frames:
            transposed = ", which are transposed" if len(each) == len(values) else ""
            raise CalmError(
                f"{channel} has {len(each)} frames, but the traces {values.shape} have {frames}{transposed}: pass"
                " traces as (neurons, frames), and behaviour on the same frames."
            )
    if len(values) > frames:
        warnings.warn(
            f"{name}: {len(values)} neurons and {frames} frames; if it is the other way round, transpose the traces.",
            stacklevel=3,
        )
    return Recording(
        name=name,
        subject=subject,
        rate=rate or float(1 / np.median(np.diff(clock))),
        traces=single(values),
        timestamps=clock,
        neurons=pd.DataFrame({"id": range(len(values))}) if neurons is None else neurons,
        behaviour=single(np.stack(list(channels.values()))).T if channels else np.empty((frames, 0), np.float32),
        behaviour_names=tuple(channels),
    )


def numbers(values: ArrayLike, what: str, axes: tuple[str, ...]) -> np.ndarray:
    """An array of numbers with these axes.

    Raises:
        CalmError: it is something else.
    """
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise CalmError(f"{what}: these are no numbers in one array ({', '.join(axes)}): mend them.") from None
    if array.ndim != len(axes) or not array.size:
        raise CalmError(f"{what} must be ({', '.join(axes)}), but the shape is {array.shape}: reshape it.")
    return array


def extent(
    values: Float[np.ndarray, "*batch frame"],
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    """How large the largest value along the last axis is, and how far the values reach; NaN are left out."""
    highest, lowest = (each.reduce(values, axis=-1, initial=np.nan).astype(float) for each in (np.fmax, np.fmin))
    return np.fmax(np.abs(highest), np.abs(lowest)), highest - lowest


def is_coarse(
    largest: Float[np.ndarray, "*batch"], span: Float[np.ndarray, "*batch"], precision: type
) -> Bool[np.ndarray, "*batch"]:
    """Where values of this `extent` change, but by fewer than LEVELS steps of a precision, beside their offset."""
    return (span > 0) & (span < LEVELS * np.finfo(precision).eps * largest)


def suits_single(values: Float[np.ndarray, "*batch frame"]) -> bool:
    """Whether single precision holds the changes along the last axis, and their squares, as double precision does."""
    largest, span = extent(values)
    lost = is_coarse(largest, span, np.float32) & ~is_coarse(largest, span, np.float64)
    return not (lost | (largest > SAFE) | ((span > 0) & (span < 1 / SAFE))).any()


def single(values: Float[np.ndarray, "*batch frame"]) -> Float[np.ndarray, "*batch frame"]:
    """The values in single precision, or as they are if it does not suit them."""
    return values.astype(np.float32) if suits_single(values) else values


def make_clock(frames: int, rate: float | None, timestamps: ArrayLike | None) -> Float[np.ndarray, " frame"]:
    """Times of the frames in s.

    Raises:
        CalmError: neither rate nor timestamps, or timestamps that are not one a frame, one later than the other.
    """
    if rate is not None and not 0 < rate < np.inf:
        raise CalmError(f"a `rate` of {rate} is no number of frames per second: it must be above 0.")
    if timestamps is None:
        if rate is None:
            raise CalmError("nothing says how fast the frames follow each other: add `rate`, in frames per second.")
        return np.arange(frames) / rate
    clock = numbers(timestamps, "the timestamps", ("frames",))
    if len(clock) != frames or len(clock) < 2 or not np.all(np.diff(clock) > 0):
        raise CalmError(
            f"{len(clock)} timestamps for {frames} frames: there must be one for each, later than the last."
        )
    if rate is not None and abs(rate * period(clock) - 1) > SAME_RATE:
        raise CalmError(
            f"a `rate` of {rate:g} contradicts the timestamps, which have {1 / period(clock):.4g} frames per second:"
            " leave one of them out."
        )
    return clock


def subject_of(path: object) -> str:
    """The subject that a path names as `sub-...`, or `unknown`."""
    match = SUBJECT.search(str(path))
    return match.group(1) if match else "unknown"


def keep_neurons(recording: Recording, wanted: Mapping[str, Sequence[Value]]) -> Recording:
    """The neurons that have one of the wanted values in every column named; a value may be `> 0.5`.

    Raises:
        CalmError: no such column, or no neuron is left.
    """
    keep = np.ones(len(recording.neurons), bool)
    for column, values in wanted.items():
        if column not in recording.neurons:
            raise CalmError(
                f"the neurons have no column {column!r} to `keep`: they have {', '.join(recording.neurons)}."
            )
        keep &= matches(recording.neurons[column], values)
    if not keep.any():
        raise CalmError(f"`keep` leaves none of {len(keep)} neurons: change it.")
    return dataclasses.replace(
        recording, traces=recording.traces[keep], neurons=recording.neurons[keep].reset_index(drop=True)
    )


def matches(column: pd.Series, values: Sequence[Value]) -> Bool[np.ndarray, " neuron"]:
    """Which rows of a column have one of the values, or fulfil one of the comparisons among them."""
    hits = column.isin(list(values)).to_numpy()
    for value in values:
        comparison = COMPARISON.fullmatch(str(value))
        if comparison and pd.api.types.is_numeric_dtype(column):
            hits = hits | OPERATORS[comparison[1]](column.to_numpy(), float(comparison[2]))
    return hits


def fill_gaps(recording: Recording, longest: int) -> Recording:
    """The recording with a straight line for NaN of up to `longest` frames on end in a neuron's trace; told.

    Frames that are NaN in all neurons stay: nothing was recorded there. So does NaN at either end of a trace.
    """
    if not longest or not (missing := np.isnan(recording.traces)).any():
        return recording
    lost, traces, filled = missing.all(axis=0), recording.traces.copy(), 0
    for neuron in np.flatnonzero(missing.any(axis=1)):
        for gap in gaps_within(missing[neuron], longest):
            ends = [gap[0] - 1, gap[-1] + 1]
            line = np.interp(gap, ends, recording.traces[neuron, ends])
            traces[neuron, gap] = np.where(lost[gap], np.nan, line)
            filled += int((~lost[gap]).sum())
    if filled:
        warnings.warn(
            f"{recording.name}: {filled} values ({filled / traces.size:.2%}) are NaN for up to {longest} frames on end,"
            " and are filled by straight lines.",
            stacklevel=2,
        )
    return dataclasses.replace(recording, traces=traces)


def gaps_within(missing: Bool[np.ndarray, " frame"], longest: int) -> list[Int[np.ndarray, " gap"]]:
    """The frames of every gap of at most `longest` frames that has a value before and after it."""
    edges = np.flatnonzero(np.diff(missing.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    inner = (edges[:, 0] > 0) & (edges[:, 1] < len(missing))
    return [np.arange(*edge) for edge in edges[inner & (np.diff(edges)[:, 0] <= longest)]]
