"""A first look at a recording: what a file or folder holds, what calm would use of it, and a description to save."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import yaml

from calm.data.descriptions import ENDINGS, Dataset, Layout, describe
from calm.data.intervals import START, STOP, Windows
from calm.data.reading import CELLS, checked, cut_recording, read_file, read_recording
from calm.data.recording import Recording, gaps, period
from calm.data.session import MIN_TRIALS, Session
from calm.errors import CalmError, reading
from calm.paths import address_of
from calm.profile import load_profile

ASSUMED_RATE = 30.0  # frames per second, until somebody says
WINDOWS = {"length": Windows().length}
MOST_VALUES = 50_000_000  # of a series that are searched for NaN
RATIO = re.compile(r"dff|df.?(over|of|/).?f|delta.?f", re.IGNORECASE)  # in the names of series of dF/F
NO_TRACES = re.compile(r"neuropil(?!.*(correct|subtract))|deconv|spike|event|background", re.IGNORECASE)


def inspect(path: str | Path, *, rate: float | None = None) -> str:
    """Print what a recording holds, what of it would be used, and a description of it, which is returned.

    Args:
        path: an NWB file or its address on the web, the folder of Suite2p, CaImAn's HDF5, a CSV or an NPZ file.
        rate: frames per second, if the file does not say.

    Raises:
        CalmError: nothing is there, or it is none of these.
    """
    with reading(Path(path)):
        return print_contents(Path(path), rate)


def print_contents(path: Path, rate: float | None) -> str:
    """See `inspect`."""
    layout = layout_of(path)
    content: dict[str, Any] = {"files": address_of(path) or str(path.absolute())}
    if layout == "nwb":
        read, (table, more) = read_file, nwb_contents(path)
    else:
        recording, rate = read_or_guess(path, layout, rate)
        read, table = functools.partial(cut_recording, recording), recording_contents(recording, CELLS.get(layout, {}))
        more = {"layout": layout, **({"rate": rate} if rate else {}), "windows": WINDOWS}
    content |= more
    description = yaml.safe_dump(content, sort_keys=False)
    print(f"\n{content['files']}\n{table.to_string(index=False)}\n")
    print(usable(path, content, read))
    print(f"\nA description, to be saved as data/mine.yaml:\n\n{description}\n{cost()}")
    return description


def layout_of(path: Path) -> Layout:
    """The layout that a path looks like.

    Raises:
        CalmError: nothing is there, or it looks like none.
    """
    if address_of(path):
        return "nwb"
    if not path.exists():
        raise CalmError(f"There is nothing at {path}: check the path.")
    if path.suffix in ENDINGS:
        return ENDINGS[path.suffix]
    if path.is_dir():
        return "suite2p"
    if not h5py.is_hdf5(path):
        raise CalmError(f"{path} looks like no recording: pass NWB, Suite2p's folder, CaImAn's HDF5, CSV or NPZ.")
    with h5py.File(path) as file:
        return "caiman" if "estimates" in file else "nwb"


def read_or_guess(path: Path, layout: Layout, rate: float | None) -> tuple[Recording, float | None]:
    """A recording that holds no trials, and the rate that its description needs; ASSUMED_RATE is told as a guess."""
    content: dict[str, Any] = {"name": path.stem, "files": path.name, "layout": layout, "windows": WINDOWS}
    try:
        return read_recording(path, describe(content | ({"rate": rate} if rate else {}), path.name)), rate
    except CalmError as error:
        if rate or "`rate`" not in str(error):
            raise
    print(f"Nothing says how fast frames follow each other; {ASSUMED_RATE:g} per second is a guess: change it.")
    return read_recording(path, describe(content | {"rate": ASSUMED_RATE}, path.name)), ASSUMED_RATE


def recording_contents(recording: Recording, cells: Mapping[str, Any]) -> pd.DataFrame:
    """One row: how large a recording is, its rate, gaps and NaN, and how many of its neurons count as cells."""
    kept = [f"{recording.neurons[column].sum()} {column}" for column in cells if column in recording.neurons]
    row = {
        "neurons": ", ".join([str(len(recording.neurons)), *kept]),
        **clock_row(recording.timestamps),
        "NaN": share_of_nan(recording.traces),
    }
    return pd.DataFrame([row])


def clock_row(times: np.ndarray) -> dict[str, Any]:
    """Number, rate, span and gaps of some times in s."""
    if len(times) < 2:
        return {"samples": len(times)}
    return {
        "samples": len(times),
        "Hz": round(1 / period(times), 3) if period(times) > 0 else np.nan,
        "from s": round(float(times[0]), 2),
        "to s": round(float(times[-1]), 2),
        "gaps": int(gaps(times).sum()),
    }


def share_of_nan(values: np.ndarray) -> str:
    """How much of an array is NaN."""
    share = float(np.mean(~np.isfinite(values))) if values.size and values.dtype.kind == "f" else 0.0
    return f"{share:.2%}" if share else "none"


def nwb_contents(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A row for each series and each table of intervals; and the keys of a description that are needed to read it."""
    from pynwb import TimeSeries
    from pynwb.epoch import TimeIntervals

    from calm.data.readers.nwb_file import open_nwb

    with open_nwb(path) as nwb:
        series = [series_row(item) for item in nwb.objects.values() if isinstance(item, TimeSeries)]
        tables = [interval_row(item) for item in nwb.objects.values() if isinstance(item, TimeIntervals)]
        return pd.DataFrame([*series, *tables], dtype=object).fillna(""), needed_keys(nwb, least=1)


def nwb_keys(path: Path, least: int) -> dict[str, Any]:
    """The keys of a description that are needed to read a file in trials of at least `least` frames."""
    from calm.data.readers.nwb_file import open_nwb

    with open_nwb(path) as nwb:
        return needed_keys(nwb, least)


def needed_keys(nwb: Any, least: int) -> dict[str, Any]:
    """Those keys for an open file.

    Where there are several traces, those that their names speak for; and the trial table, or else another table, if
    there are trials enough of at least `least` frames, or else windows.
    """
    from pynwb.epoch import TimeIntervals
    from pynwb.ophys import DfOverF, RoiResponseSeries

    from calm.data.readers.nwb_series import all_times, full_name

    traces = {full_name(item): item for item in nwb.objects.values() if isinstance(item, RoiResponseSeries)}
    tables = {full_name(item): item for item in nwb.objects.values() if isinstance(item, TimeIntervals)}
    ratios = [name for name, each in traces.items() if isinstance(each.parent, DfOverF)]
    chosen = likeliest([*traces], ratios)
    alone = chosen is None or [chosen] == (ratios or [*traces])
    times = all_times(traces[chosen]) if chosen else np.empty(0)
    shortest = (least - 0.5) * period(times) if len(times) > 1 else 0.0
    default = None if nwb.trials is None else full_name(nwb.trials)
    return ({} if alone else {"traces": chosen}) | trial_choice(default, tables, shortest)


def likeliest(traces: Sequence[str], ratios: Sequence[str]) -> str | None:
    """Of the names of traces the one that speaks most for cells, and of these for dF/F; `ratios` are that for sure."""
    return min(
        traces,
        key=lambda name: (bool(NO_TRACES.search(name)), name not in ratios, not RATIO.search(name), name),
        default=None,
    )


def durations(table: Any) -> np.ndarray:
    """How long each interval of a table lasts in s."""
    return np.asarray(table[STOP][:], float) - np.asarray(table[START][:], float)


def trial_choice(default: str | None, tables: Mapping[str, Any], shortest: float) -> dict[str, Any]:
    """The keys of a description that cut a recording: by intervals that last at least `shortest` s, or into windows.

    `default` is the name of the trial table, which needs no key.
    """
    suited = [name for name in sorted(tables) if np.sum(durations(tables[name]) >= shortest) >= MIN_TRIALS]
    if default in suited:
        return {}
    return {"trials": suited[0]} if suited else {"windows": WINDOWS}


def series_row(series: Any) -> dict[str, Any]:
    """What is in a time series of an NWB file."""
    from calm.data.readers.nwb_series import all_times, full_name

    shape = np.shape(series.data)
    few = np.prod(shape) <= MOST_VALUES
    return {
        "path": full_name(series),
        "type": type(series).__name__,
        "shape": "x".join(map(str, shape)),
        "unit": series.unit,
        **clock_row(all_times(series)),
        "NaN": share_of_nan(np.asarray(series.data)) if few else "not searched",
    }


def interval_row(table: Any) -> dict[str, Any]:
    """What is in a table of intervals of an NWB file."""
    from calm.data.readers.nwb_series import full_name

    columns = ", ".join(name for name in table.colnames if name not in ("start_time", "stop_time"))
    return {"path": full_name(table), "type": f"{len(table)} intervals", "shape": columns}


def usable(path: Path, content: Mapping[str, Any], read: Callable[[Path, Dataset], Session]) -> str:
    """What comes out when a description is followed, or why nothing does; `read` makes a session of a path."""
    try:
        dataset = describe({"name": path.stem, **content}, path.name)
        session = checked(read(path, dataset), dataset, min_frames=1)
    except CalmError as error:
        return f"With this description it cannot be used: {error}"
    return f"{used(session)} Neurons can be kept by {', '.join(session.neurons)}."


def used(session: Session) -> str:
    """What of a recording is used."""
    return (
        f"Used: session {session.name} of subject {session.subject}, {len(session.neurons)} neurons,"
        f" {len(session.traces)} trials of {session.frames.min()} to {session.frames.max()} frames at"
        f" {session.rate:.4g} Hz, behaviour: {', '.join(session.behaviour_names) or 'none'}."
    )


def cost() -> str:
    """What training takes, which does not grow with the length of recordings."""
    told = "`CalM.pretrain` says first how long that takes on this machine."
    return "\n".join([*map(steps_of, ("smoke", "quick")), told])


def steps_of(name: str) -> str:
    """The steps that a profile trains."""
    profile = load_profile(name)
    fits: Iterator[str] = (f"{fit.steps} steps of {fit.rows} rows" for fit in (profile.quantizer_fit, profile.dat_fit))
    return f"Profile {name} trains {' and '.join(fits)} (quantizer, transformer), however long the recordings are."
