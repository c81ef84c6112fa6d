"""A Session as an NWB file of the layout that `calm.data.readers.nwb` reads."""

import datetime
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from pynwb import NWBHDF5IO, NWBFile, TimeSeries
from pynwb.file import Subject
from pynwb.ophys import DfOverF, ImageSegmentation, OpticalChannel, PlaneSegmentation

from calm.data.session import Session
from calm.errors import CalmError


def write_session(session: Session, path: Path) -> None:
    """Write a session as NWB: DfOverF/RoiResponseSeries, a TimeSeries per behavioural channel, trials and ROI table.

    The trials follow each other without a gap from 0 s on, which replaces their `start_time` and `stop_time`.
    """
    if session.preparation is not None:
        raise CalmError(f"Session {session.name} has z-scores, which are no dF/F: write it as it was read.")
    nwb = NWBFile(
        session_description="Trials of one recording, written by calm.",
        identifier=session.name,
        session_start_time=datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC),  # required; a Session knows no date
        session_id=session.name,
        subject=Subject(subject_id=session.subject),
    )
    add_traces(nwb, session)
    add_behaviour(nwb, session)
    add_trials(nwb, session)
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)


def text_or_number(values: pd.Series) -> list:
    """A column as what NWB stores: booleans, numbers, or text."""
    return values.tolist() if values.dtype.kind in "biuf" else values.astype(str).tolist()


def clock_of(session: Session) -> dict[str, float]:
    """Clock of the written series: the first frame lies half a frame behind the start of the first trial."""
    return {"rate": session.rate, "starting_time": 0.5 / session.rate}


def add_traces(nwb: NWBFile, session: Session) -> None:
    """Add the ROI table and the traces, (frames, ROIs)."""
    rois, fluorescence = roi_table(nwb, session.neurons), DfOverF()
    ophys = nwb.create_processing_module(name="ophys", description="Fluorescence traces.")
    ophys.add([ImageSegmentation(plane_segmentations=[rois]), fluorescence])
    fluorescence.create_roi_response_series(
        name="RoiResponseSeries",
        data=np.concatenate(session.traces, axis=1).T,
        unit="dF/F",
        rois=rois.create_roi_table_region(region=list(range(len(rois))), description="All neurons."),
        **clock_of(session),
    )


def roi_table(nwb: NWBFile, neurons: pd.DataFrame) -> PlaneSegmentation:
    """The table of neurons, on an imaging plane about which a Session knows nothing."""
    channel = OpticalChannel(name="channel", description="unknown", emission_lambda=np.nan)
    plane = nwb.create_imaging_plane(
        name="ImagingPlane",
        optical_channel=channel,
        description="unknown",
        device=nwb.create_device(name="microscope"),
        excitation_lambda=np.nan,
        indicator="unknown",
        location="unknown",
    )
    rois = PlaneSegmentation(name="PlaneSegmentation", description="The neurons.", imaging_plane=plane)
    for index, number in enumerate(neurons.get("id", neurons.index)):
        rois.add_roi(pixel_mask=[(index, 0, 1.0)], id=number)  # pynwb insists on a mask; a Session has none
    for name, values in neurons.drop(columns="id", errors="ignore").items():
        rois.add_column(name=name, description=name, data=text_or_number(values))
    return rois


def add_behaviour(nwb: NWBFile, session: Session) -> None:
    """Add each behavioural channel, (frames,), on the clock of the traces."""
    module = nwb.create_processing_module(name="behavior", description="Behaviour on the frames of the traces.")
    for name, values in zip(session.behaviour_names, np.concatenate(session.behaviour).T, strict=True):
        module.add(TimeSeries(name=name, data=values, unit="n.a.", **clock_of(session)))


def add_trials(nwb: NWBFile, session: Session) -> None:
    """Add the trial table, with times from the numbers of frames, and all other columns as they are."""
    borders = np.append(0, np.cumsum(session.frames)) / session.rate
    for start, stop in itertools.pairwise(borders):
        nwb.add_trial(start_time=start, stop_time=stop)
    for name, values in session.trials.drop(columns=["start_time", "stop_time"], errors="ignore").items():
        nwb.add_trial_column(name=name, description=name, data=text_or_number(values))
