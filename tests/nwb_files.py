"""Small NWB files for the tests, written with pynwb alone, so that reading is not tested against our own writer."""

import datetime
from pathlib import Path

import numpy as np
from pynwb import NWBHDF5IO, NWBFile, TimeSeries
from pynwb.file import Subject
from pynwb.ophys import DfOverF, Fluorescence, ImageSegmentation, OpticalChannel, RoiResponseSeries

from calm.data.reading import read_checked, read_sessions

RATE = 10.0  # Hz
FRAMES = 100


def new_file(*, session_id: str | None = "session", subject: str | None = "mouse") -> NWBFile:
    """An NWB file in memory with an imaging plane and the processing modules ophys and behavior."""
    nwb = NWBFile(
        session_description="test",
        identifier="test",
        session_start_time=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
        session_id=session_id,
        subject=Subject(subject_id=subject) if subject else None,
    )
    nwb.create_imaging_plane(
        name="plane",
        optical_channel=OpticalChannel(name="channel", description="test", emission_lambda=500.0),
        description="test",
        device=nwb.create_device(name="microscope"),
        excitation_lambda=900.0,
        indicator="GCaMP6f",
        location="S1",
    )
    nwb.create_processing_module(name="ophys", description="test")
    nwb.create_processing_module(name="behavior", description="test")
    return nwb


def add_traces(
    nwb: NWBFile,
    data: np.ndarray,
    *,
    name: str = "RoiResponseSeries",
    container: str = "DfOverF",
    rois: int | None = None,
    **clock: object,
) -> RoiResponseSeries:
    """Add (frames, ROIs) traces in a DfOverF (or, called Fluorescence, a Fluorescence), with their own ROI table."""
    count = np.shape(data)[1] if rois is None else rois
    ophys = nwb.processing["ophys"]
    if "ImageSegmentation" not in ophys.data_interfaces:
        ophys.add(ImageSegmentation())
    table = ophys["ImageSegmentation"].create_plane_segmentation(
        name=f"{container}_{name}_rois", description="test", imaging_plane=nwb.imaging_planes["plane"]
    )
    for index in range(count):
        table.add_roi(pixel_mask=[(index, 0, 1.0), (index, 1, 1.0)], id=100 + index)
    table.add_column(name="depth", description="mm", data=[0.1 * index for index in range(count)])
    table.add_column(name="area", description="area", data=["V1"] * count)
    series = RoiResponseSeries(
        name=name,
        data=data,
        unit="dF/F",
        rois=table.create_roi_table_region(region=list(range(count)), description="all"),
        **(clock or {"rate": RATE, "starting_time": 0.5 / RATE}),
    )
    kind = Fluorescence if container == "Fluorescence" else DfOverF
    if container not in ophys.data_interfaces:
        ophys.add(kind(name=container))
    ophys[container].add_roi_response_series(series)
    return series


def add_behaviour(nwb: NWBFile, name: str, data: np.ndarray, **clock: object) -> None:
    """Add a time series to the module behavior, on the default clock of the traces unless told another."""
    clock = clock or {"rate": RATE, "starting_time": 0.5 / RATE}
    nwb.processing["behavior"].add(TimeSeries(name=name, data=data, unit="n.a.", **clock))


def add_trials(nwb: NWBFile, times: list[tuple[float, float]], **columns: list) -> None:
    """Add trials with their start and stop times in s, and columns with a value each."""
    for start, stop in times:
        nwb.add_trial(start_time=start, stop_time=stop)
    for name, values in columns.items():
        nwb.add_trial_column(name=name, description="test", data=values)


def save(nwb: NWBFile, path: Path) -> Path:
    """Write the file."""
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    return path


def random_traces(frames: int = FRAMES, neurons: int = 3, seed: int = 0) -> np.ndarray:
    """(frames, ROIs) noise."""
    return np.random.default_rng(seed).normal(size=(frames, neurons)).astype(np.float32)


def plain_file(
    path: Path, *, session_id: str | None = "session", subject: str | None = "mouse", data: np.ndarray | None = None
) -> Path:
    """A complete small file: 3 neurons, lick, ten adjacent trials of ten frames with the column `go`."""
    data = random_traces() if data is None else data
    nwb = new_file(session_id=session_id, subject=subject)
    add_traces(nwb, data)
    add_behaviour(nwb, "lick", np.arange(len(data), dtype=float))
    add_trials(nwb, [(float(second), second + 1.0) for second in range(10)], go=[True, False] * 5)
    return save(nwb, path)


def read_all(dataset, window=4):
    """All sessions of a description as recorded, each long enough for its context and a token."""
    shortest = (dataset.context or 0) + window
    return list(read_sessions(dataset, lambda path: read_checked(path, dataset, min_frames=shortest)).values())
