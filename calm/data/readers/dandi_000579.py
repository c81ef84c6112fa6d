"""A Session read from a file of the layout of DANDI:000579, the recordings of Tseng et al. 2022.

Images are taken at 30 Hz, of four planes and a fly-back in turn, so that a plane runs at 6 Hz. Time, plane, trial
number and behaviour are known for every image; row i of the traces of a plane is the i-th image of that plane. A frame
of the Session is one image of each plane.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pynwb import NWBFile, TimeSeries
from pynwb.ophys import RoiResponseSeries

from calm.data.readers.nwb import behaviour_series, find_traces, neuron_table, scalar_column, trial_table
from calm.data.readers.nwb_file import open_nwb
from calm.data.readers.nwb_series import find_item, full_name, in_units, sample_count, sample_times
from calm.data.recording import Recording
from calm.data.session import Session, cut
from calm.errors import CalmError

PLANES = tuple(f"df_over_f_plane_{plane}/dF_over_F_plane_{plane}" for plane in range(4))
TRIAL_NUMBER, PLANE_INDEX = "frame_aligned_trial_number", "plane_idx_for_imaging_frames"
VELOCITY, POSITION = "frame_aligned_pitch_roll_yaw_velocity", "frame_aligned_forward_and_lateral_position"
CHANNELS = {
    "pitch": (VELOCITY, 0),
    "roll": (VELOCITY, 1),
    "yaw": (VELOCITY, 2),
    "forward_position": (POSITION, 0),
    "lateral_position": (POSITION, 1),
}
BEHAVIOUR = ("pitch", "roll", "yaw")
CONDITIONS = ("is_cueB", "is_choL", "is_ruleA", "is_correct", "is_switch")

Trials = dict[float, Int[np.ndarray, "plane _frame"]]  # by number of the trial: the images that its frames are


def read_dandi_session(
    path: str | Path,
    *,
    behaviour: tuple[str, ...] = BEHAVIOUR,
    conditions: tuple[str, ...] = (),
    min_frames: int | None = 60,
    max_frames: int | None = 200,
    process: Callable[[Recording], Recording] | None = None,
) -> Session:
    """Read one multi-plane session at 6 Hz, holding no more of the file than the trials that are kept, twice.

    A trial is all images with its number, cut to its shortest plane. Behaviour is the mean over the planes. The limits
    of the authors' code, 60 and 200 frames, are the default.

    The trial table has `trial_number`, CONDITIONS, and where the maze is: the stem is from frame `stem_frame` on, the
    arm from `arm_frame` on, up to but without frame `maze_frames`; all three are 0 if the file does not say.
    The neuron table has the `plane`, what the file has (`area`; `ml`, `ap` and `depth` in mm, from bregma and pia;
    `mTagBFP2` and `mScarlet` if cells were labelled), and for all neurons alike `session_area` and `layer`, after which
    the session is named. The area `A` of the files is called visA, as in their names.

    Args:
        path: the NWB file.
        behaviour: channels to keep, of CHANNELS; NaN where no plane has a value.
        conditions: columns of the trial table to keep beside CONDITIONS.
        min_frames, max_frames: a trial with fewer or more frames in any plane is left out; None sets no limit.
        process: what to do to the frames of all trials, one behind the other, before they are cut; None is nothing.

    Raises:
        CalmError: the file cannot be read, has a single plane, or lacks what is asked for; or no trial is left.
    """
    path = Path(path)
    with open_nwb(path) as nwb:
        images, planes = read_images(nwb), find_traces(nwb, PLANES)
        images = add_rows(images, planes)
        trials = images_of_trials(images, min_frames, max_frames)
        recording = read_frames(nwb, path, images, planes, list(trials.values()), behaviour)
        ends = np.cumsum([each.shape[1] for each in trials.values()])
        spans = recording.timestamps[np.stack([np.append(0, ends[:-1]), ends - 1], axis=1)]
        recording = process(recording) if process is not None else recording
        edges = edges_of(spans, recording)
        of_trials = [recording.timestamps[first:last] for first, last in edges]
        return cut(recording, describe_trials(nwb, conditions, list(trials), of_trials), edges)


def read_frames(
    nwb: NWBFile,
    path: Path,
    images: pd.DataFrame,
    planes: Sequence[RoiResponseSeries],
    trials: Sequence[Int[np.ndarray, "plane _frame"]],
    behaviour: tuple[str, ...],
) -> Recording:
    """The frames of all trials as one recording, one trial behind the other; `trials` has the images of each."""
    frames = np.concatenate(trials, axis=1)
    return Recording(
        name=nwb.session_id or path.stem,
        subject=(nwb.subject and nwb.subject.subject_id) or "unknown",
        rate=float(1 / images["time"][images["plane"] == 0].diff().median()),
        traces=read_traces(planes, [images["row"].to_numpy()[each] for each in trials]),
        timestamps=images["time"].to_numpy()[frames].mean(axis=0),  # as behaviour: the mean over the planes
        neurons=all_neurons(planes, nwb.session_id or "", path.name),
        behaviour=read_channels(nwb, behaviour, frames, len(images)),
        behaviour_names=behaviour,
        unit=planes[0].unit,
    )


def read_images(nwb: NWBFile) -> pd.DataFrame:
    """The images of a recording: `time` in s, number of the `trial` or NaN for none, and `plane`, 4 for the fly-back.

    Raises:
        CalmError: not this layout, a single-plane recording, or trial numbers that go backwards.
    """
    behaviour = behaviour_series(nwb)
    numbers = find_item(behaviour, TRIAL_NUMBER, "behaviour")
    images = pd.DataFrame({"time": sample_times(numbers), "trial": numbers.data[:]})
    if PLANE_INDEX not in [series.name for series in behaviour]:
        raise CalmError(
            f"this is a single-plane recording: it has no {PLANE_INDEX}, and the clock of its traces counts samples of"
            " 2000 Hz instead of seconds; the paper uses the multi-plane ones only, leave it out of `files`."
        )
    if not images["trial"].dropna().is_monotonic_increasing:
        raise CalmError(f"the numbers of {TRIAL_NUMBER} go backwards: leave the file out of `files`.")
    planes = checked_rows(find_item(behaviour, PLANE_INDEX, "behaviour"), len(images))
    return images.assign(plane=planes.data[:])


def add_rows(images: pd.DataFrame, planes: Sequence[RoiResponseSeries]) -> pd.DataFrame:
    """The images with their `row` in the traces of their plane; that of one without traces is NaN.

    The last volume may lack its row or its image.

    Raises:
        CalmError: more than that is missing.
    """
    images = images.assign(row=images.groupby("plane").cumcount())
    rows = {plane: sample_count(series) for plane, series in enumerate(planes)}
    for plane, series in enumerate(planes):
        count = int((images["plane"] == plane).sum())
        if abs(count - rows[plane]) > 1:
            raise CalmError(
                f"{full_name(series)} has {rows[plane]} rows, but {PLANE_INDEX} counts {count} images of plane {plane}:"
                " download the file again, or leave it out of `files`."
            )
    return images.assign(plane=images["plane"].where(images["row"] < images["plane"].map(rows)))


def checked_rows(series: TimeSeries, count: int) -> TimeSeries:
    """The series; a CalmError unless it has a row for each of `count` images."""
    if len(series.data) != count:
        raise CalmError(
            f"{full_name(series)} has {len(series.data)} rows for the {count} images of {TRIAL_NUMBER}: download the"
            " file again, or leave it out of `files`."
        )
    return series


def images_of_trials(images: pd.DataFrame, min_frames: int | None, max_frames: int | None) -> Trials:
    """The images of each trial in every plane, cut to the shortest plane.

    Raises:
        CalmError: no trial has a number of frames within the limits in every plane.
    """
    shortest, longest, trials = min_frames or 1, max_frames or np.inf, {}
    for number, of_trial in images.groupby("trial"):
        frames = [np.array(of_trial.index[of_trial["plane"] == plane]) for plane in range(len(PLANES))]
        counts = [len(plane) for plane in frames]
        if shortest <= min(counts) and max(counts) <= longest:
            trials[float(number)] = np.stack([plane[: min(counts)] for plane in frames])
    if not trials:
        raise CalmError(
            f"no trial has between {shortest} and {longest} frames in every plane: change `min_frames` or `max_frames`."
        )
    return trials


def edges_of(spans: Float[np.ndarray, "trial 2"], recording: Recording) -> Int[np.ndarray, "trial 2"]:
    """First frame of each trial and the frame after its last, of trials that have their first and last at these times.

    Raises:
        CalmError: a trial has no frame.
    """
    first = np.searchsorted(recording.timestamps, spans[:, 0], side="left")
    last = np.searchsorted(recording.timestamps, spans[:, 1], side="right")
    if (first >= last).any():
        raise CalmError(f"at {recording.rate:g} frames per second, trials have no frame: choose a higher `resample`.")
    return np.stack([first, last], axis=1)


def read_traces(
    planes: Sequence[RoiResponseSeries], rows: Sequence[Int[np.ndarray, "plane _frame"]]
) -> Float[np.ndarray, "neuron frame"]:
    """Traces of all trials, the neurons of all planes one after the other; one trial of a plane is read at a time.

    `rows` are those of the planes' traces in each trial.
    """
    borders = np.cumsum([0, *(len(plane.rois) for plane in planes)])
    ends = np.cumsum([of_trial.shape[1] for of_trial in rows])
    traces = np.empty((borders[-1], ends[-1]), np.float32)
    for index, plane in enumerate(planes):
        for end, of_trial in zip(ends, rows, strict=True):
            first, last = of_trial[index, [0, -1]]
            block = in_units(plane, slice(first, last + 1))  # an image without a number may lie within a trial
            frames = slice(end - of_trial.shape[1], end)
            traces[borders[index] : borders[index + 1], frames] = block[of_trial[index] - first].T
    return traces


def read_channels(
    nwb: NWBFile, names: tuple[str, ...], frames: Int[np.ndarray, "plane frame"], count: int
) -> Float[np.ndarray, "frame behaviour"]:
    """Mean behaviour over the planes that have a value, NaN where none has; of a recording with `count` images.

    `frames` are the images of each frame.

    Raises:
        CalmError: an unknown channel, or a series that is missing or has not one row an image.
    """
    unknown = [name for name in names if name not in CHANNELS]
    if unknown:
        raise CalmError(f"there is no behaviour called {unknown[0]!r} in this layout: it has {', '.join(CHANNELS)}.")
    values = np.empty((count, len(names)), np.float32)
    for index, (series, column) in enumerate(CHANNELS[name] for name in names):
        rows = checked_rows(find_item(behaviour_series(nwb), series, "behaviour"), count)
        values[:, index] = in_units(rows, slice(None))[:, column]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of frames without a value
        return np.nanmean(values[frames], axis=0)


def describe_trials(
    nwb: NWBFile, conditions: tuple[str, ...], numbers: list[float], frames: Sequence[Float[np.ndarray, " _frame"]]
) -> pd.DataFrame:
    """Row i of the file's trial table for the trial with number i, and where it goes from the stem into the arm.

    `frames` are the times of the frames of each trial in s.
    """
    table = trial_table(nwb, (*CONDITIONS, *conditions))
    rows = matching_rows(numbers, np.array([np.median(of_trial) for of_trial in frames]), table["start_time"])
    table = table.iloc[rows].reset_index(drop=True)
    maze = zip(frames, maze_times(nwb, rows), strict=True)
    stem, arm, after = np.stack([np.searchsorted(of_trial, borders) for of_trial, borders in maze]).T
    return table.assign(trial_number=rows, stem_frame=stem, arm_frame=arm, maze_frames=after)


def matching_rows(
    numbers: list[float], middles: Float[np.ndarray, " trial"], starts: pd.Series
) -> Int[np.ndarray, " trial"]:
    """Rows of the trial table that have these trial numbers, whose frames have their middle at these times in s.

    Raises:
        CalmError: a number has no row, or its row starts later than the middle of its frames, or the next one earlier.
    """
    missing = [number for number in numbers if number not in range(len(starts))]
    if missing:
        raise CalmError(
            f"{TRIAL_NUMBER} has a trial {missing[0]:g}, but the trial table ends at {len(starts) - 1}: download the"
            " file again, or leave it out of `files`."
        )
    rows, begin = np.array(numbers).astype(int), starts.to_numpy(float)
    other = (middles < begin[rows]) | (middles >= np.append(begin[1:], np.inf)[rows])
    if other.any():
        row = rows[other][0]
        raise CalmError(
            f"the frames of trial {row} lie around {middles[other][0]:.1f} s, but row {row} of the trial table starts"
            f" at {begin[row]:.1f} s, so that trials would get the conditions of others: leave the file out of `files`."
        )
    return rows


def maze_times(nwb: NWBFile, numbers: Int[np.ndarray, " trial"]) -> Float[np.ndarray, "trial 3"]:
    """Start of the stem, start of the arm and end of the arm, in s; -inf for what the file does not say.

    An arm that was never entered begins and ends with the end of the stem.
    """
    if nwb.epochs is None:
        raise CalmError("there is no table of epochs, which says where stem and arm are: download the file again.")
    names = ("epoch_type", "trial_id", "start_time", "stop_time")
    epochs = pd.DataFrame({name: scalar_column(nwb.epochs, name) for name in names})
    stem, arm = (
        epochs[epochs["epoch_type"] == kind].drop_duplicates("trial_id").set_index("trial_id").reindex(numbers)
        for kind in ("maze_stem", "maze_arm")
    )
    ends = stem["stop_time"]
    times = [stem["start_time"], arm["start_time"].fillna(ends), arm["stop_time"].fillna(ends)]
    return np.nan_to_num(np.stack(times, axis=1).astype(float), nan=-np.inf)


def all_neurons(planes: Sequence[RoiResponseSeries], *names: str) -> pd.DataFrame:
    """One row per ROI; `names`, of the session or its file, tell the area and layer that the session is named after."""
    tables = [neuron_table([plane]).assign(plane=index) for index, plane in enumerate(planes)]
    named = [match for name in names if (match := re.search(r"area[-_]([^-_]+)[-_](L\d+)", name))]
    area, layer = named[0].groups() if named else ("unknown", "unknown")
    table = pd.concat(tables, ignore_index=True).assign(session_area=area, layer=layer)
    return table.replace({"area": {"A": "visA"}})
