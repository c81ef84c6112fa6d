"""A Session read from an NWB file, through pynwb; what a file lacks is a CalmError that says what there is instead."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from hdmf.build import GroupBuilder
from hdmf.common import DynamicTable, DynamicTableRegion, VectorIndex
from jaxtyping import Float, Int
from pynwb import NWBHDF5IO, NWBFile, TimeSeries
from pynwb.ophys import DfOverF, RoiResponseSeries

from calm.data.recording import Recording
from calm.data.session import Session, cut
from calm.errors import CalmError

# Both borders of a trial are moved this share of a frame earlier, so that rounding errors of the clock move no frame
# from one trial to the next, whether frames are stamped on the border of a trial or half a frame behind it.
SLACK = 0.25


def read_session(
    path: str | Path,
    *,
    traces: tuple[str, ...] | None = None,
    behaviour: tuple[str, ...] = (),
    conditions: tuple[str, ...] = (),
) -> Session:
    """Read the trials of one recording; a frame belongs to the trial with start_time <= timestamp < stop_time.

    A series goes by its name, by the name of its container, or as `container/name` where these are ambiguous.

    Args:
        path: the NWB file.
        traces: the RoiResponseSeries, one per imaging plane (row i of every plane is the same volume; the clock is
            that of the first plane); None takes the only one there is in a DfOverF, else the only one there is.
        behaviour: time series to keep. On the clock of the traces they are taken as they are; on another one they are
            interpolated linearly at the frame times, and NaN before their first and after their last sample.
        conditions: columns of the trial table to keep beside `start_time` and `stop_time`.

    Raises:
        CalmError: the file cannot be read, or it lacks what is asked for; the message says what there is.
    """
    path = Path(path)
    with open_nwb(path) as nwb:
        planes = find_traces(nwb, traces)
        clock = frame_times(planes)
        trials, edges = covered_trials(trial_table(nwb, conditions), clock, path.name)
        rows = slice(edges.min(), edges.max())  # one read of what lies between the first and the last trial
        frames = np.concatenate([in_units(plane, rows) for plane in planes], axis=1)
        channels, names = read_behaviour(nwb, behaviour, clock, rows)
        recording = Recording(
            name=nwb.session_id or path.stem,
            subject=(nwb.subject and nwb.subject.subject_id) or "unknown",
            rate=float(planes[0].rate or 1 / np.median(np.diff(clock))),
            traces=frames.T,
            timestamps=clock[rows],
            neurons=neuron_table(planes),
            behaviour=channels,
            behaviour_names=names,
        )
        return cut(recording, trials, edges - rows.start)


@contextlib.contextmanager
def open_nwb(path: Path) -> Iterator[NWBFile]:
    """An NWB file open for lazy reading; every CalmError raised while it is open gets the file's name.

    Raises:
        CalmError: no such file, not HDF5, not NWB, truncated or damaged.
    """
    if not path.is_file():
        raise CalmError(f"There is no file {path}: check the path.")
    if not h5py.is_hdf5(path):
        raise CalmError(f"{path} is not an HDF5 file, so not NWB: leave it out, or convert it to NWB.")
    try:
        with NWBHDF5IO(path, "r", load_namespaces=True) as io:
            yield construct(io)
    except CalmError as error:
        raise CalmError(f"{path.name}: {error}") from None
    except OSError as error:
        raise CalmError(f"{path} is truncated or damaged ({error}): copy or download it again.") from error


def construct(io: NWBHDF5IO) -> NWBFile:
    """The content of an open file, without what belongs to extensions neither installed nor stored in the file."""
    skipped = drop_unknown_types(io.read_builder(), io.manager.namespace_catalog.namespaces)
    if skipped:
        warnings.warn(f"{io.source}: left out {', '.join(skipped)}, of extensions not installed.", stacklevel=2)
    try:
        return io.read()
    except OSError:
        raise
    except Exception as error:  # pynwb raises whatever the first missing piece of a broken file leads to
        reason = " ".join(str(error).split())  # some have several lines
        raise CalmError(f"this is no valid NWB 2 file ({reason}): check it with `pynwb-validate`.") from error


def drop_unknown_types(group: GroupBuilder, known: Sequence[str]) -> list[str]:
    """Remove from a group, in place, what belongs to unknown namespaces, which pynwb refuses; return the paths."""
    skipped = []
    for children in (group.groups, group.datasets):
        for name, child in list(children.items()):
            namespace = child.attributes.get("namespace")
            if namespace is not None and namespace not in known:
                skipped.append(children.pop(name).path)
            elif isinstance(child, GroupBuilder):
                skipped += drop_unknown_types(child, known)
    return skipped


def full_name(series: TimeSeries) -> str:
    """`container/name`, how messages call a series."""
    return f"{series.parent.name}/{series.name}"


def find_series(candidates: Sequence[TimeSeries], name: str, kind: str) -> TimeSeries:
    """The one series called `name`: by `container/name`, by its name, or by its container's."""
    for key in (full_name, lambda series: series.name, lambda series: series.parent.name):
        matches = [series for series in candidates if key(series) == name]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise CalmError(f"several {kind} are called {name!r}: choose one of {', '.join(map(full_name, matches))}.")
    names = ", ".join(sorted(map(full_name, candidates))) or "none at all"
    raise CalmError(f"there is no {kind} called {name!r}: it has {names}.")


def find_traces(nwb: NWBFile, names: tuple[str, ...] | None) -> list[RoiResponseSeries]:
    """The series of fluorescence traces that are named, or the only one; one per plane, with a column per ROI."""
    traces = [series for series in nwb.objects.values() if isinstance(series, RoiResponseSeries)]
    planes = [series for series in traces if isinstance(series.parent, DfOverF)] or traces
    if names is not None:
        planes = [find_series(traces, name, "RoiResponseSeries") for name in names]
    elif not planes:
        raise CalmError("there is no RoiResponseSeries: write the fluorescence traces as one.")
    elif len(planes) > 1:
        choice = ", ".join(sorted(map(full_name, planes)))
        raise CalmError(f"there are several RoiResponseSeries: choose with `traces` among {choice}.")
    for plane in planes:
        shape, count = plane.data.shape, len(plane.rois)
        if (shape[1:] or (1,)) != (count,):
            raise CalmError(f"{full_name(plane)} has data {shape} for {count} ROIs: it must be (frames, ROIs).")
    return planes


def sample_times(series: TimeSeries) -> Float[np.ndarray, " sample"]:
    """Times of a series in s, from its timestamps or its rate, checked against its data."""
    where, shape, kind = full_name(series), series.data.shape, series.data.dtype
    if len(shape) > 2 or kind.kind not in "biuf":
        raise CalmError(
            f"{where} has data {shape} of type {kind}: it must be numbers, (frames,) or (frames, channels)."
        )
    times = np.asarray(series.get_timestamps(), dtype=float)
    if len(times) != shape[0] or len(times) < 2:
        raise CalmError(f"{where} has data {shape} and {len(times)} timestamps: it needs one a frame, of two or more.")
    if not np.all(np.diff(times) >= 0):
        raise CalmError(f"the timestamps of {where} go backwards or are NaN: mend them.")
    return times


def frame_times(planes: Sequence[RoiResponseSeries]) -> Float[np.ndarray, " frame"]:
    """Times of the frames in s: those of the first plane, as far as the shortest plane goes.

    Planes may differ by the one frame that the end of a recording can cut off.
    """
    times = [sample_times(plane) for plane in planes]
    counts = [len(plane) for plane in times]
    if max(counts) - min(counts) > 1:
        listed = ", ".join(f"{full_name(plane)} {count}" for plane, count in zip(planes, counts, strict=True))
        raise CalmError(f"the planes differ in their numbers of frames ({listed}): read planes of one recording only.")
    return times[0][: min(counts)]


def in_units(series: TimeSeries, rows: slice) -> Float[np.ndarray, "frame channel"]:
    """Some frames of a series, in its unit."""
    data = np.asarray(series.data[rows], dtype=np.float32)
    return data.reshape(len(data), -1) * float(series.conversion) + float(series.offset)


def scalar_column(table: DynamicTable, name: str) -> np.ndarray | None:
    """The values of a column with one number or text in each row; None if it holds anything else."""
    column = table[name]
    shape, kind = np.shape(column.data), getattr(getattr(column.data, "dtype", None), "kind", "O")
    ragged = isinstance(column, VectorIndex | DynamicTableRegion)
    return None if ragged or len(shape) != 1 or kind not in "biufO" else np.asarray(column[:])


def trial_table(nwb: NWBFile, conditions: tuple[str, ...]) -> pd.DataFrame:
    """All trials: `start_time`, `stop_time` and the conditions, which must have one value per trial."""
    if nwb.trials is None:
        raise CalmError("there is no trial table: add one with start_time and stop_time, in the seconds of the traces.")
    columns = {}
    for name in dict.fromkeys(("start_time", "stop_time", *conditions)):
        if name not in nwb.trials.colnames:
            raise CalmError(f"the trials have no column {name!r}: they have {', '.join(nwb.trials.colnames)}.")
        columns[name] = scalar_column(nwb.trials, name)
        if columns[name] is None:
            raise CalmError(f"the trials' column {name!r} has several values per trial: leave it out of `conditions`.")
    return pd.DataFrame(columns)


def trial_edges(times: Float[np.ndarray, "trial 2"], clock: Float[np.ndarray, " frame"]) -> Int[np.ndarray, "trial 2"]:
    """First frame of each trial and the frame behind its last, from start and stop times in s (see SLACK)."""
    return np.searchsorted(clock, times - SLACK * np.median(np.diff(clock)))


def covered_trials(
    trials: pd.DataFrame, clock: Float[np.ndarray, " frame"], where: str
) -> tuple[pd.DataFrame, Int[np.ndarray, "_covered 2"]]:
    """The trials with frames, and their edges; a warning says how many of the file `where` have none."""
    times = trials[["start_time", "stop_time"]].to_numpy(float)
    edges = trial_edges(times, clock)
    covered = edges[:, 0] < edges[:, 1]
    if not covered.any():
        raise CalmError(
            f"none of {len(trials)} trials has frames: the traces go from {clock[0]:g} to {clock[-1]:g} s,"
            " check that the trial table is on their clock and in seconds."
        )
    if not covered.all():
        warnings.warn(
            f"{where}: {np.sum(~covered)} of {len(trials)} trials have no frames and are left out.", stacklevel=3
        )
    return trials[covered].reset_index(drop=True), edges[covered]


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
    nwb: NWBFile, names: tuple[str, ...], clock: Float[np.ndarray, " frame"], rows: slice
) -> tuple[Float[np.ndarray, "row behaviour"], tuple[str, ...]]:
    """Behavioural channels at some of the frames, and their names: `lick`, or `velocity[0]`, `velocity[1]`, ..."""
    channels, channel_names = [np.empty((rows.stop - rows.start, 0), np.float32)], []
    for name in names:
        series = find_series(behaviour_series(nwb), name, "behaviour")
        channels.append(at_frames(series, clock, rows))
        one = len(series.data.shape) == 1
        channel_names += [name] if one else [f"{name}[{channel}]" for channel in range(series.data.shape[1])]
    return np.concatenate(channels, axis=1), tuple(channel_names)


def at_frames(series: TimeSeries, clock: Float[np.ndarray, " frame"], rows: slice) -> Float[np.ndarray, "row channel"]:
    """A series at some of the frames: as it is on the same clock, else interpolated linearly, NaN outside its times."""
    times = sample_times(series)
    jitter = SLACK * np.median(np.diff(clock))
    if len(times) == len(clock) and np.allclose(times, clock, rtol=0, atol=jitter):
        return in_units(series, rows)
    values = in_units(series, slice(None))
    columns = [np.interp(clock[rows], times, column, left=np.nan, right=np.nan) for column in values.T]
    return np.stack(columns, axis=1).astype(np.float32)
