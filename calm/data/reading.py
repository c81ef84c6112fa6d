"""The sessions that a description names: each read as its layout says, checked, without what is to be left out."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from calm.data.descriptions import PLAIN, Dataset, describe, load_dataset
from calm.data.dff import Baseline, delta_f_over_f
from calm.data.intervals import START, STOP, cut_into_trials, cut_into_windows
from calm.data.readers.arrays import read_csv, read_npz
from calm.data.readers.pipelines import read_caiman, read_suite2p
from calm.data.recording import Recording, fill_gaps, keep_neurons
from calm.data.session import Session, bad_neurons, describe_neurons, drop_neurons, odd_rates, validate
from calm.errors import CalmError, reading

CELLS = {"suite2p": {"iscell": (True,)}, "caiman": {"accepted": (True,)}}  # kept by default, where a file tells them


def read_sessions(dataset: Dataset, read: Callable[[Path], Session]) -> dict[Path, Session]:
    """All sessions of a dataset but the excluded ones, by file; `read` makes one of a file. Odd frame rates are told.

    Raises:
        CalmError: two sessions have one name, a held-out subject has no session, or an excluded one is not there.
    """
    sessions: dict[str, Session] = {}
    sources: dict[str, Path] = {}
    excluded: set[str] = set()
    for path in tqdm(dataset.paths(), desc=f"Reading {dataset.name}", unit="session"):
        if path.name in dataset.exclude:
            excluded.add(path.name)
            continue
        session = read(path)
        if session.name in dataset.exclude:
            excluded.add(session.name)
            continue
        if session.name in sessions:
            raise CalmError(
                f"{sources[session.name]} and {path} are both session {session.name!r}: `exclude` one of the files, or"
                " give it another session_id."
            )
        sessions[session.name], sources[session.name] = session, path
    check_whole(dataset, sessions, excluded)
    if odd := odd_rates(list(sessions.values())):
        warnings.warn(f"{dataset.name}: {odd}", stacklevel=2)
    return {sources[name]: session for name, session in sessions.items()}


def check_whole(dataset: Dataset, sessions: Mapping[str, Session], excluded: Set[str]) -> None:
    """Refuse a dataset of which nothing is left, or that names a session or subject that is not there."""
    if unknown := [name for name in dataset.exclude if name not in excluded]:
        raise CalmError(
            f"{dataset.name}: there is no session or file {unknown[0]!r} to `exclude`: the sessions are"
            f" {', '.join(sessions)}."
        )
    if not sessions:
        raise CalmError(f"{dataset.name}: every session is excluded: shorten `exclude`.")
    subjects = {session.subject for session in sessions.values()}
    if unknown := [subject for subject in dataset.held_out if subject not in subjects]:
        raise CalmError(
            f"{dataset.name}: no session has the held-out subject {unknown[0]!r}: choose `held_out` among"
            f" {', '.join(sorted(subjects))}."
        )


def load_sessions(recordings: str | Path | Sequence[str | Path] | Mapping[str, Any]) -> list[Session]:
    """Sessions as they were recorded, to look at or to `prepare`.

    Args:
        recordings: a pattern of NWB files or several, relative to the current folder, as "recordings/*.nwb"; or keys of
            a description (data/README.md), as {"files": "*.nwb", "behaviour": "lick"}; or the path of a description.

    Raises:
        CalmError: see `calm.data.descriptions.describe` and `read_sessions`.
    """
    if isinstance(recordings, str | Path) and Path(recordings).suffix in (".yaml", ".yml"):
        dataset = load_dataset(recordings)
    elif isinstance(recordings, Mapping):
        dataset = describe({"name": "load_sessions", **recordings}, "load_sessions")
    else:
        files = [recordings] if isinstance(recordings, str | Path) else recordings
        dataset = describe({"name": "load_sessions", "files": list(map(str, files))}, "load_sessions")
    return list(read_sessions(dataset, lambda path: read_checked(path, dataset, min_frames=1)).values())


def read_checked(path: Path, dataset: Dataset, *, min_frames: int) -> Session:
    """The session of one file as recorded, not smoothed, not z-scored; trials and neurons left out as it says.

    Raises:
        CalmError: the file or session is unusable, see the readers of the layouts and `calm.data.session.validate`.
    """
    with reading(path):
        return checked(read_file(path, dataset), dataset, min_frames=min_frames)


def checked(session: Session, dataset: Dataset, *, min_frames: int) -> Session:
    """The session without the trials and neurons that the description leaves out; see `read_checked`."""
    session = keep_trials(session, dataset.min_frames, dataset.max_frames)
    if dataset.bad_neurons == "drop":
        session = without_bad_neurons(session)
    validate(session, min_frames=min_frames)
    return session


def read_file(path: Path, dataset: Dataset) -> Session:
    """The session of one file, read as the layout of the dataset says."""
    if dataset.layout in PLAIN:
        return cut_recording(read_recording(path, dataset), path, dataset)
    # Pynwb takes seconds to load, and only these layouts need it.
    from calm.data.readers.dandi_000579 import BEHAVIOUR, read_dandi_session
    from calm.data.readers.nwb import read_session

    processed = functools.partial(process, dataset=dataset)
    if dataset.layout == "nwb":
        return read_session(
            path,
            traces=dataset.traces,
            behaviour=dataset.behaviour or {},
            conditions=dataset.conditions,
            trials=dataset.trials,
            windows=dataset.windows,
            process=processed,
        )
    resampled = dataset.resample is not None  # `keep_trials` counts these frames
    return read_dandi_session(
        path,
        behaviour=BEHAVIOUR if dataset.behaviour is None else tuple(dataset.behaviour),
        conditions=dataset.conditions,
        min_frames=None if resampled else dataset.min_frames,
        max_frames=None if resampled else dataset.max_frames,
        process=processed,
    )


def read_recording(path: Path, dataset: Dataset) -> Recording:
    """The recording of one file or folder that holds no trials, as it is there."""
    match dataset.layout:
        case "suite2p":
            return read_suite2p(path, rate=dataset.rate, neuropil=dataset.neuropil)
        case "caiman":
            return read_caiman(path, rate=dataset.rate)
        case "csv":
            return read_csv(path, rate=dataset.rate, behaviour=tuple(dataset.behaviour or ()))
        case _:
            return read_npz(path, rate=dataset.rate, behaviour=tuple(dataset.behaviour or ()))


def cut_recording(recording: Recording, path: Path, dataset: Dataset) -> Session:
    """The session of a recording that holds no trials: processed, and cut as the description says."""
    recording = process(recording, dataset)
    if dataset.windows is not None:
        return cut_into_windows(recording, dataset.windows)
    return cut_into_trials(recording, read_trials(path, dataset))


def process(recording: Recording, dataset: Dataset) -> Recording:
    """The neurons to keep of a recording, without short gaps, as dF/F where wanted, at the rate that is asked for."""
    cells = CELLS.get(dataset.layout, {})
    default = {column: values for column, values in cells.items() if column in recording.neurons}
    recording = keep_neurons(recording, default if dataset.keep is None else dataset.keep)
    recording = fill_gaps(recording, dataset.fill_gaps)
    raw = dataset.layout == "suite2p" if dataset.dff is None else dataset.dff
    if raw:
        recording = delta_f_over_f(recording, raw if isinstance(raw, Baseline) else Baseline())
    if dataset.resample is None:
        return recording
    from calm.data.resampling import resampled  # scipy takes a while to load, and few recordings need it

    return resampled(recording, dataset.resample)


def read_trials(path: Path, dataset: Dataset) -> pd.DataFrame:
    """The trials of a recording, from the CSV files beside it, or in its folder.

    Raises:
        CalmError: a file or column is missing, or trials around events are asked for.
    """
    if dataset.trials.tables is None:
        raise CalmError(
            f"`layout` {dataset.layout} has no events: write `trials` as a CSV file with start_time and stop_time."
        )
    folder, tables = path if path.is_dir() else path.parent, []
    for name in dataset.trials.tables:
        if not (folder / name).is_file():
            raise CalmError(f"There is no table of trials {folder / name}: correct `trials`.")
        table = pd.read_csv(folder / name)
        missing = [column for column in (START, STOP, *dataset.conditions) if column not in table]
        if missing:
            raise CalmError(f"{folder / name} has no column {missing[0]!r}: it has {', '.join(table)}.")
        tables.append(table[[START, STOP, *dataset.conditions]])
    return pd.concat(tables, ignore_index=True)


def keep_trials(session: Session, min_frames: int | None, max_frames: int | None) -> Session:
    """The session without the trials that are shorter or longer than wanted; None sets no limit.

    Raises:
        CalmError: no trial is left.
    """
    shortest, longest = min_frames or 0, max_frames or np.inf
    keep = np.flatnonzero((session.frames >= shortest) & (session.frames <= longest))
    if not len(keep):
        raise CalmError(
            f"Session {session.name}: its trials have {session.frames.min()} to {session.frames.max()} frames, none of"
            f" them between {shortest} and {longest}: change `min_frames` or `max_frames`."
        )
    if left := len(session.traces) - len(keep):
        limits = {"shorter": min_frames, "longer": max_frames}
        faults = " or ".join(f"{fault} than {limit}" for fault, limit in limits.items() if limit)
        warnings.warn(
            f"Session {session.name}: {left} of {len(session.traces)} trials are left out, {faults} frames.",
            stacklevel=2,
        )
    return dataclasses.replace(
        session,
        traces=tuple(session.traces[trial] for trial in keep),
        behaviour=tuple(session.behaviour[trial] for trial in keep),
        trials=session.trials.iloc[keep].reset_index(drop=True),
    )


def without_bad_neurons(session: Session) -> Session:
    """The session without bad neurons; warnings say which, and what is wrong with them.

    Raises:
        CalmError: all are bad.
    """
    faults = bad_neurons(session)
    if sum(map(len, faults.values())) == len(session.neurons) > 0:
        told = " and ".join(f"{fault} in {describe_neurons(neurons)}" for fault, neurons in faults.items())
        raise CalmError(f"Session {session.name} has no neuron to keep: {told}; `fill_gaps` mends short NaN.")
    for fault, neurons in faults.items():
        warnings.warn(f"Session {session.name}: left out {describe_neurons(neurons)}: {fault}.", stacklevel=2)
    return drop_neurons(session, np.concatenate([*faults.values(), np.empty(0, int)]))
