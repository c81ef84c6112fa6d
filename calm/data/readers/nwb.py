"""A Session read from an NWB file, through pynwb; what a file lacks is a CalmError that says what there is instead."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from hdmf.common import DynamicTable, DynamicTableRegion, VectorIndex
from jaxtyping import Float
from pynwb import NWBFile, TimeSeries
from pynwb.epoch import TimeIntervals
from pynwb.ophys import DfOverF, RoiResponseSeries

from calm.data.intervals import START, STOP, Trials, Windows, around_events, cut_into_trials, cut_into_windows
from calm.data.readers.nwb_file import open_nwb
from calm.data.readers.nwb_series import (
    check_numeric,
    find_item,
    full_name,
    in_units,
    is_numeric,
    lies_across,
    sample_times,
)
from calm.data.recording import Kind, Recording, period
from calm.data.resampling import guess_kind, is_even, same_clock, to_frames
from calm.data.session import Session
from calm.errors import CalmError

SLOWEST = 0.1  # frames per second; a slower clock is one in milliseconds

Kinds = Mapping[str, Kind | None]  # by the name of a time series: what it is, or None for a guess


def read_session(
    path: str | Path,
    *,
    traces: tuple[str, ...] | None = None,
    behaviour: Kinds | Sequence[str] = (),
    conditions: tuple[str, ...] = (),
    trials: Trials | None = None,
    windows: Windows | None = None,
    process: Callable[[Recording], Recording] | None = None,
) -> Session:
    """Read one recording and cut it into trials, or into windows; see `calm.data.intervals` for what is left out.

    A series or table goes by its name, by the name of its container, as `container/name`, or by its whole path
    `module/container/name`: by any of these that is its alone.

    Args:
        path: the NWB file, HDF5 or Zarr.
        traces: the RoiResponseSeries, one per imaging plane (row i of every plane is the same volume; the clock is
            that of the first plane); None takes the only one there is in a DfOverF, else the only one there is.
        behaviour: time series to keep. On the clock of the traces they are taken as they are; on another one as their
            kind says, see `calm.data.resampling.to_frames`. A guess of the kind is told.
        conditions: columns of the trial table to keep beside `start_time` and `stop_time`.
        trials: tables of intervals or events; None is the file's trial table.
        windows: cut into these instead.
        process: what to do to the traces before behaviour is brought to their frames; None is nothing.

    Raises:
        CalmError: the file cannot be read, or it lacks what is asked for; the message says what there is.
    """
    path = Path(path)
    with open_nwb(path) as nwb:
        table = None if windows is not None else trial_table(nwb, conditions, trials)
        recording = read_traces(nwb, path.stem, traces)
        recording = process(recording) if process is not None else recording
        channels, names = read_behaviour(nwb, behaviour, recording.timestamps)
        recording = dataclasses.replace(recording, behaviour=channels, behaviour_names=names)
        return cut_into_windows(recording, windows) if table is None else cut_into_trials(recording, table)


def read_traces(nwb: NWBFile, name: str, traces: tuple[str, ...] | None) -> Recording:
    """The whole recording without behaviour, called by its session_id or else `name`; see `read_session`."""
    planes = find_traces(nwb, traces)
    clock = frame_times(planes)
    frames = np.concatenate([in_units(plane, slice(len(clock))) for plane in planes], axis=1)
    return Recording(
        name=nwb.session_id or name,
        subject=(nwb.subject and nwb.subject.subject_id) or "unknown",
        rate=float(planes[0].rate or 1 / period(clock)),
        traces=frames.T,
        timestamps=clock,
        neurons=neuron_table(planes),
        behaviour=np.empty((len(clock), 0), np.float32),
        unit=planes[0].unit,
    )


def find_traces(nwb: NWBFile, names: tuple[str, ...] | None) -> list[RoiResponseSeries]:
    """The series of fluorescence traces that are named, or the only one; one per plane, with a column per ROI."""
    traces = [series for series in nwb.objects.values() if isinstance(series, RoiResponseSeries)]
    planes = [series for series in traces if isinstance(series.parent, DfOverF)] or traces
    if names is not None:
        planes = [find_item(traces, name, "RoiResponseSeries") for name in names]
        if repeated := [name for index, name in enumerate(names) if planes[index] in planes[:index]]:
            raise CalmError(
                f"`traces` name {repeated[0]!r} twice, so that its neurons would count twice: name it once."
            )
    elif not planes:
        raise CalmError("there is no RoiResponseSeries: write the fluorescence traces as one.")
    elif len(planes) > 1:
        choice = ", ".join(sorted(map(full_name, planes)))
        raise CalmError(f"there are several RoiResponseSeries: choose with `traces` among {choice}.")
    for plane in planes:
        shape, count = plane.data.shape, len(plane.rois.data)
        if not count:
            raise CalmError(f"{full_name(plane)} has data {shape}, but no row in its ROI table: add a row per ROI.")
        if lies_across(plane):
            warnings.warn(
                f"{full_name(plane)} is read as (ROIs, frames) = {shape}, though NWB asks for (frames, ROIs).",
                stacklevel=3,
            )
        elif (shape[1:] or (1,)) != (count,):
            raise CalmError(f"{full_name(plane)} has data {shape} for {count} ROIs: it must be (frames, ROIs).")
    return planes


def frame_times(planes: Sequence[RoiResponseSeries]) -> Float[np.ndarray, " frame"]:
    """Times of the frames in s: those of the first plane, as far as the shortest plane goes.

    Planes may differ by the one frame that the end of a recording can cut off.
    """
    for plane in planes:
        check_numeric(plane)
    times = [sample_times(plane) for plane in planes]
    step = period(times[0])
    if not 0 < step < 1 / SLOWEST:
        raise CalmError(
            f"the frames of {full_name(planes[0])} are {step:g} s apart: give `timestamps` or `rate` in seconds, not"
            " in milliseconds."
        )
    counts = [len(plane) for plane in times]
    if max(counts) - min(counts) > 1:
        listed = ", ".join(f"{full_name(plane)} {count}" for plane, count in zip(planes, counts, strict=True))
        raise CalmError(f"the planes differ in their numbers of frames ({listed}): read planes of one recording only.")
    return times[0][: min(counts)]


def scalar_column(table: DynamicTable, name: str) -> np.ndarray | None:
    """The values of a column with one number or text in each row; None if it holds anything else."""
    column = table[name]
    shape, kind = np.shape(column.data), getattr(getattr(column.data, "dtype", None), "kind", "O")
    ragged = isinstance(column, VectorIndex | DynamicTableRegion)
    return None if ragged or len(shape) != 1 or kind not in "biufO" else np.asarray(column[:])


def trial_table(nwb: NWBFile, conditions: tuple[str, ...], trials: Trials | None = None) -> pd.DataFrame:
    """All trials: `start_time`, `stop_time` and the conditions, which must have one value per trial."""
    if trials is not None and trials.events is not None:
        if conditions:
            raise CalmError(f"trials around events have no column {conditions[0]!r}: leave `conditions` out.")
        series = find_item(behaviour_series(nwb), trials.events, "series of events")
        return around_events(event_times(series), trials.before, trials.after)
    tables = interval_tables(nwb, trials.tables if trials is not None else None)
    joined = [scalar_columns(table, (START, STOP, *conditions)) for table in tables]
    if len(tables) > 1:
        joined = [columns.assign(table=table.name) for table, columns in zip(tables, joined, strict=True)]
    return pd.concat(joined, ignore_index=True)


def interval_tables(nwb: NWBFile, names: tuple[str, ...] | None) -> list[TimeIntervals]:
    """The tables that are named, or the file's trial table."""
    tables = [item for item in nwb.objects.values() if isinstance(item, TimeIntervals)]
    if names is not None:
        return [find_item(tables, name, "table of intervals") for name in names]
    if nwb.trials is None:
        there = ", ".join(sorted(map(full_name, tables)))
        choice = (
            f"name one of its tables of intervals ({there}) under `trials`"
            if there
            else "write `trials: {events: <series>}`"
        )
        raise CalmError(
            f"there is no trial table: {choice}, or cut the recording into windows with `windows: {{length: 80}}`."
        )
    return [nwb.trials]


def scalar_columns(table: TimeIntervals, names: Sequence[str]) -> pd.DataFrame:
    """Some columns of a table, which must have one value in each row."""
    columns = {}
    for name in dict.fromkeys(names):
        if name not in table.colnames:
            raise CalmError(f"the {table.name} have no column {name!r}: they have {', '.join(table.colnames)}.")
        columns[name] = scalar_column(table, name)
        if columns[name] is None:
            raise CalmError(
                f"the {table.name}' column {name!r} has several values per trial: leave it out of `conditions`."
            )
    return pd.DataFrame(columns)


def event_times(series: TimeSeries) -> Float[np.ndarray, " event"]:
    """When events happen: at every sample if they are all alike, else where a value of zero is left."""
    times = sample_times(series, least=0)
    values = in_units(series, slice(None)) if is_numeric(series) else np.ones((len(times), 1))
    on = (np.nan_to_num(values) != 0).any(axis=1)
    return times[on if guess_kind(times, values) == "events" else on & ~np.append(False, on[:-1])]


def neuron_table(planes: Sequence[RoiResponseSeries]) -> pd.DataFrame:
    """One row per ROI: `id` and the scalar columns of its table, and `series` where there are several planes."""
    tables = []
    for plane in planes:
        rois = plane.rois.table
        columns = {"id": rois.id[:]} | {name: scalar_column(rois, name) for name in rois.colnames}
        table = pd.DataFrame({name: column for name, column in columns.items() if column is not None})
        tables.append(table.assign(series=plane.name).iloc[plane.rois.data[:]])
    neurons = pd.concat(tables, ignore_index=True)
    return neurons if len(planes) > 1 else neurons.drop(columns="series")


def behaviour_series(nwb: NWBFile) -> list[TimeSeries]:
    """All time series but traces."""
    return [s for s in nwb.objects.values() if isinstance(s, TimeSeries) and not isinstance(s, RoiResponseSeries)]


def read_behaviour(
    nwb: NWBFile, behaviour: Kinds | Sequence[str], clock: Float[np.ndarray, " frame"]
) -> tuple[Float[np.ndarray, "frame behaviour"], tuple[str, ...]]:
    """Behavioural channels at the frames, and their names: `lick`, or `velocity[0]`, `velocity[1]`, ..."""
    kinds = behaviour if isinstance(behaviour, Mapping) else dict.fromkeys(behaviour)
    channels, channel_names = [np.empty((len(clock), 0), np.float32)], []
    for name, kind in kinds.items():
        series = find_item(behaviour_series(nwb), name, "behaviour")
        channels.append(at_frames(series, kind, clock))
        count = channels[-1].shape[1]
        channel_names += [name] if len(series.data.shape) == 1 else [f"{name}[{channel}]" for channel in range(count)]
    return np.concatenate(channels, axis=1), tuple(channel_names)


def at_frames(
    series: TimeSeries, kind: Kind | None, clock: Float[np.ndarray, " frame"]
) -> Float[np.ndarray, "frame channel"]:
    """A series at the frames: as it is if it is on their clock, else as its kind says; a guess of that is told."""
    if kind == "events" and not is_numeric(series):  # each has a text, or nothing
        times = sample_times(series, least=0)
        return to_frames(times, np.ones((len(times), 1)), clock, kind)
    check_numeric(series)
    times, values = sample_times(series, least=0 if kind == "events" else 2), in_units(series, slice(None))
    if same_clock(times, clock):
        return values
    guess = kind or guess_kind(times, values)
    if kind is None and (guess != "samples" or not is_even(times)):
        warnings.warn(
            f"{full_name(series)} is read as {guess}: confirm it with `behaviour: {{{series.name}: {guess}}}`, or name"
            " another of events, steps and samples.",
            stacklevel=2,
        )
    return to_frames(times, values, clock, guess)
