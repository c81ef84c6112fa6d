"""Recordings that are plain arrays: in memory, in an NPZ file or in a CSV file."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from calm.data.intervals import Windows, cut_into_trials, cut_into_windows, length_alone
from calm.data.recording import Recording, make_recording, subject_of
from calm.data.session import Session, cut, validate
from calm.errors import CalmError

TIME = "time"  # the column or array of timestamps in s


def from_arrays(
    traces: Any,
    *,
    rate: float,
    trials: pd.DataFrame | None = None,
    windows: Mapping[str, Any] | int | None = None,
    behaviour: Any = None,
    name: str = "recording",
    subject: str = "unknown",
) -> Session:
    """A session of arrays: either one continuous recording, or a trace for each trial.

    Args:
        traces: fluorescence, best dF/F: one array (neurons, frames), or one such array for each trial.
        rate: frames per second.
        trials: of a continuous recording, `start_time` and `stop_time` of its trials in s, where the first frame is
            at 0 s. Of single trials, a row for each, if there is something to say about them.
        windows: how to cut a continuous recording without trials, as in a description: `{"length": 80}`, the default,
            or just 80.
        behaviour: by name, a value a frame: one array (frames,), or one such array for each trial.
        name, subject: of the session.

    Raises:
        CalmError: arrays that do not go together, are transposed or have NaN; both `trials` and `windows`.
    """
    if behaviour is not None and len(behaviour) and not isinstance(behaviour, Mapping):
        raise CalmError('`behaviour` must have names: pass {"speed": speed}, or leave it out.')
    behaviour = dict(behaviour or {})
    about = {"name": name, "subject": subject, "rate": rate}
    if all(np.ndim(trace) == 2 for trace in traces):
        session = from_trials(list(traces), trials, behaviour, about)
    elif trials is None:
        cut_as = Windows().changed(**length_alone(windows or {}))
        session = cut_into_windows(make_recording(traces, behaviour=behaviour, **about), cut_as)
    elif windows is None:
        session = cut_into_trials(make_recording(traces, behaviour=behaviour, **about), trials)
    else:
        raise CalmError("A recording is cut into `trials` or into `windows`: leave one of them out.")
    validate(session)
    return session


def from_trials(
    traces: list[np.ndarray],
    trials: pd.DataFrame | None,
    behaviour: Mapping[str, Sequence[ArrayLike]],
    about: dict[str, Any],
) -> Session:
    """The session of single trials, which follow each other without a gap from 0 s on."""
    neurons, frames = ({np.shape(trace)[axis] for trace in traces} for axis in (0, 1))
    if len(neurons) != 1:
        hint = "they are transposed" if len(frames) == 1 else "they are not of one session"
        raise CalmError(f"The trials have {min(neurons)} to {max(neurons)} neurons, so {hint}: pass (neurons, frames).")
    edges = np.append(0, np.cumsum([np.shape(trace)[1] for trace in traces]))
    for channel, values in behaviour.items():
        if [len(each) for each in values] != np.diff(edges).tolist():
            raise CalmError(
                f"{channel} must have a value for each frame of each trial, a list of arrays (frames,): mend it."
            )
    recording = make_recording(
        np.concatenate(traces, axis=1),
        behaviour={name: np.concatenate(each) for name, each in behaviour.items()},
        **about,
    )
    table = pd.DataFrame(index=range(len(traces))) if trials is None else trials.reset_index(drop=True)
    if len(table) != len(traces):
        raise CalmError(f"There are {len(traces)} trials, but `trials` has {len(table)} rows: pass a row for each.")
    times = edges / recording.rate
    return cut(
        recording, table.assign(start_time=times[:-1], stop_time=times[1:]), np.stack([edges[:-1], edges[1:]], axis=1)
    )


def read_npz(path: Path, *, rate: float | None = None, behaviour: Sequence[str] = ()) -> Recording:
    """The array `traces` (neurons, frames), timestamps in `time` if they are there, and behaviour (frames,) by name.

    Raises:
        CalmError: no NPZ file, or one that lacks an array; pickles are refused.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ("traces", *behaviour) if name not in file]
            if missing:
                raise CalmError(f"{path} has no array {missing[0]!r}: it has {', '.join(file)}.")
            arrays = {name: file[name] for name in ("traces", TIME, *behaviour) if name in file}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CalmError(
            f"{path} is damaged or no NPZ file of numbers ({error}): write it with `numpy.savez`."
        ) from None
    return make_recording(
        arrays["traces"],
        name=path.stem,
        subject=subject_of(path),
        rate=rate,
        timestamps=arrays.get(TIME),
        behaviour={name: arrays[name] for name in behaviour},
    )


def read_csv(path: Path, *, rate: float | None = None, behaviour: Sequence[str] = ()) -> Recording:
    """A table of numbers: without a header a row for each neuron; with one a column for each, and a row for each frame.

    With a header, the column `time` has the timestamps in s, and those that `behaviour` names are behaviour.

    Raises:
        CalmError: not a table of numbers, or one that lacks a column.
    """
    table = load_table(path)
    if not isinstance(table.columns[0], str):
        if behaviour:
            raise CalmError(
                f"{path} has no header, so no behaviour {behaviour[0]!r}: give it a header, a column for each."
            )
        return make_recording(table, name=path.stem, subject=subject_of(path), rate=rate)
    missing = [name for name in behaviour if name not in table]
    if missing:
        raise CalmError(f"{path} has no column {missing[0]!r}: it has {', '.join(table)}.")
    neurons = table.drop(columns=[TIME, *behaviour], errors="ignore")
    return make_recording(
        neurons.to_numpy().T,
        name=path.stem,
        subject=subject_of(path),
        rate=rate,
        timestamps=table.get(TIME),
        neurons=pd.DataFrame({"id": list(neurons.columns)}),
        behaviour={name: table[name] for name in behaviour},
    )


def load_table(path: Path) -> pd.DataFrame:
    """A table of numbers, its columns called by the header or, without one, by their numbers."""
    options = {"sep": "\t" if path.suffix == ".tsv" else ",", "skipinitialspace": True, "encoding": "utf-8-sig"}
    try:
        first = pd.read_csv(path, header=None, nrows=1, dtype=str, **options).iloc[0]
        table = pd.read_csv(path, header=0 if is_header(first) else None, **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise CalmError(f"{path} is no table of numbers with commas ({reason}): save it as CSV.") from None
    texts = [name for name, kind in table.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    if texts:
        raise CalmError(f"{path}: column {texts[0]!r} holds text: leave it out, or put commas between the numbers.")
    return without_index(table, path)


def is_header(cells: pd.Series) -> bool:
    """Whether the first line holds names; those that pandas gives, 0, 1, 2, ..., are some."""
    values = pd.to_numeric(cells, errors="coerce")
    counted = values.dropna().to_numpy()
    return bool((values.isna() & cells.notna()).any()) or (
        len(counted) >= max(2, len(cells) - 1) and np.array_equal(counted, np.arange(len(counted)))
    )


def without_index(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table without a first column that only counts the rows, which has no name."""
    first = table.columns[0]
    if not str(first).startswith("Unnamed"):
        return table
    if not np.array_equal(table[first], np.arange(len(table))):
        raise CalmError(f"{path}: the first column has no name: call it `{TIME}` if it is one in s, or leave it out.")
    return table.drop(columns=first)
