"""A synthetic session as an NWB file of the layout of DANDI:000579: what `calm.data.readers.dandi_000579` reads of it.

Names, containers and units are those of the real files.
"""

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from hdmf.backends.hdf5 import H5DataIO
from jaxtyping import Float
from pynwb import NWBFile, TimeSeries
from pynwb.behavior import BehavioralTimeSeries, Position, SpatialSeries
from pynwb.file import Subject
from pynwb.ophys import DfOverF, ImageSegmentation, ImagingPlane, OpticalChannel, PlaneSegmentation, RoiResponseSeries

from calm.data.readers.nwb_file import save_nwb
from calm.synthetic.maze import CYCLE, IMAGE_RATE, PLANES, Behaviour
from calm.synthetic.mice import SessionPlan, generator
from calm.synthetic.truth import Truth

SUBJECT = {"species": "Mus musculus", "sex": "U", "age": "P120D/", "description": "Synthetic: there is no such mouse."}
CONDITIONS = {  # columns of the trial table: of Behaviour.trials, and what they say
    "is_ruleA": ("rule_a", "rule A: black left, white right; else rule B: white left, black right"),
    "is_switch": ("switch", "the rule switches on this trial"),
    "is_cueB": ("black", "black cue, else white"),
    "is_choL": ("left", "left choice, else right"),
    "is_correct": ("correct", "correct choice"),
}
MAZE = {  # epochs: first image, and the one after the last
    "maze_stem": ("start", "arm"),
    "maze_arm": ("arm", "choice"),
}
STEP = 2.0**-10  # dF/F; traces are rounded to it, far below the noise, so that they can be compressed
CHUNK = 2**17  # numbers in a chunk of traces: 1 MB
CENTRES = {  # ml, ap in mm from bregma, roughly where the areas lie in the left hemisphere
    "V1": (-2.6, -3.6),
    "PM": (-1.7, -2.9),
    "AM": (-1.7, -2.2),
    "visA": (-2.4, -1.8),
    "MM": (-1.2, -2.3),
    "RSC": (-0.6, -2.7),
}
DEPTHS = {"L23": 0.12, "L5": 0.42}  # mm of the uppermost plane
PLANE_DISTANCE = 0.03  # mm
FIELD = 512  # pixels of a side
FIELD_SIZE = 0.7  # mm


def write_recording(plan: SessionPlan, behaviour: Behaviour, truth: Truth, path: Path) -> None:
    """Write one session; the folder must be there."""
    start = datetime.datetime.fromisoformat(plan.date).replace(hour=12, tzinfo=datetime.UTC)
    about = f"Synthetic recording made by calm, no real data: a mouse in a Y-maze, {plan.area} {plan.layer}."
    nwb = NWBFile(
        session_description=about,
        experiment_description=about,
        identifier=plan.name,
        session_id=plan.name,
        session_start_time=start,
        file_create_date=[start],
        keywords=["synthetic"],
        subject=Subject(subject_id=str(plan.mouse), **SUBJECT),
    )
    add_behaviour(nwb, behaviour)
    add_trials(nwb, behaviour.trials)
    add_planes(nwb, plan, truth)
    save_nwb(nwb, path)


def image_times(images: int | np.ndarray) -> float | np.ndarray:
    """Middle of each image in s."""
    return (images + 0.5) / IMAGE_RATE


def compressed(data: np.ndarray, **options: object) -> H5DataIO:
    """Data that pynwb compresses when it writes them."""
    return H5DataIO(data, compression="gzip", compression_opts=1, shuffle=True, **options)


def add_behaviour(nwb: NWBFile, behaviour: Behaviour) -> None:
    """Add what the mouse did, a row an image of the microscope, all on the timestamps of the position."""
    position = SpatialSeries(
        name="frame_aligned_forward_and_lateral_position",
        data=compressed(behaviour.position),
        unit="m",
        timestamps=compressed(image_times(np.arange(behaviour.images))),
        description="forward and lateral position; NaN outside the maze",
        reference_frame="(0, 0) is the start of the stem; forward, and to the right",
    )
    velocity = TimeSeries(
        name="frame_aligned_pitch_roll_yaw_velocity",
        data=compressed(behaviour.velocity),
        unit="A.U.",
        timestamps=position,
        description="pitch, roll and yaw of the ball; roll and yaw are positive to the left",
    )
    module = nwb.create_processing_module(name="behavior", description="Behaviour at the images of the microscope.")
    module.add(Position(name="frame_aligned_position", spatial_series=position))
    module.add(BehavioralTimeSeries(name="frame_aligned_velocity", time_series=velocity))
    numbers = {
        "frame_aligned_trial_number": (behaviour.trial_number, "trial, from 0; NaN outside the task"),
        "plane_idx_for_imaging_frames": (np.arange(behaviour.images) % CYCLE, "plane of the image; 4 is the way back"),
    }
    for name, (data, text) in numbers.items():
        module.add(TimeSeries(name=name, data=compressed(data), unit="N.A.", description=text, timestamps=position))


def add_trials(nwb: NWBFile, trials: pd.DataFrame) -> None:
    """Add the table of trials, and that of their way through the maze; both from the first image to the last."""
    for name, (_, text) in CONDITIONS.items():
        nwb.add_trial_column(name=name, description=text)
    nwb.add_epoch_column(name="epoch_type", description=f"type of epoch: {', '.join(MAZE)}")
    nwb.add_epoch_column(name="trial_id", description="trial number")
    for number, trial in enumerate(trials.to_dict("records")):
        conditions = {name: bool(trial[column]) for name, (column, _) in CONDITIONS.items()}
        nwb.add_trial(**span(trial, "start", "stop"), **conditions)
        for kind, (first, after) in MAZE.items():
            nwb.add_epoch(**span(trial, first, after), epoch_type=kind, trial_id=number)


def span(trial: dict[str, int], first: str, after: str) -> dict[str, float]:
    """Times of an interval, from the middle of its first to that of its last image, as in the real files."""
    return {"start_time": image_times(trial[first]), "stop_time": image_times(trial[after] - 1)}


def place_neurons(plan: SessionPlan, truth: Truth) -> pd.DataFrame:
    """Where each neuron lies: `plane`, `roi` (its row there), `x`, `y` (pixels), `ml`, `ap`, `depth` (mm), `area`."""
    rng, planes = generator(truth.config.seed, plan.name, "places"), truth.neurons["plane"]
    x, y = rng.integers(1, FIELD - 1, (2, len(planes)))
    ml, ap = CENTRES[plan.area]
    return pd.DataFrame(
        {
            "plane": planes,
            "roi": planes.groupby(planes).cumcount(),
            "x": x,
            "y": y,
            "ml": ml + (y / FIELD - 0.5) * FIELD_SIZE,
            "ap": ap + (x / FIELD - 0.5) * FIELD_SIZE,
            "depth": DEPTHS[plan.layer] + PLANE_DISTANCE * planes,
            "area": "A" if plan.area == "visA" else plan.area,
        }
    )


def add_planes(nwb: NWBFile, plan: SessionPlan, truth: Truth) -> None:
    """Add the four planes: their tables of ROIs, and dF/F."""
    imaging = nwb.create_imaging_plane(
        name="ImagingPlane_GCaMP6s_920nm",
        optical_channel=OpticalChannel(name="OpticalChannel_GCaMP", description="GCaMP", emission_lambda=525.0),
        imaging_rate=IMAGE_RATE,
        description=f"four planes in {plan.area} {plan.layer}",
        device=nwb.create_device(name="two_photon_microscope", description="there is none: synthetic data"),
        excitation_lambda=920.0,
        indicator="GCaMP6s",
        location=plan.area,
    )
    places, segmentation = place_neurons(plan, truth), ImageSegmentation()
    module = nwb.create_processing_module(name="ophys", description="Fluorescence of four planes.")
    module.add(segmentation)
    for plane in range(PLANES):
        rois = roi_table(plane, places[places["plane"] == plane], imaging)
        segmentation.add_plane_segmentation(rois)
        container = DfOverF(name=f"df_over_f_plane_{plane}")
        module.add(container)
        container.add_roi_response_series(traces_of_plane(plane, rois, record(plan, truth, plane)))


def roi_table(plane: int, places: pd.DataFrame, imaging: ImagingPlane) -> PlaneSegmentation:
    """The ROIs of a plane, a pixel each."""
    rois = PlaneSegmentation(
        name=f"PlaneSegmentation_{plane}", description=f"ROIs of plane {plane}", imaging_plane=imaging
    )
    for place in places.itertuples():
        rois.add_roi(pixel_mask=[(place.x, place.y, 1.0)], id=place.roi)
    units = {"ml": "mm from bregma", "ap": "mm from bregma", "depth": "mm from pia", "area": "cortical area"}
    for name, text in units.items():
        rois.add_column(name=name, description=text, data=places[name].tolist())
    return rois


def record(plan: SessionPlan, truth: Truth, plane: int) -> Float[np.ndarray, "volume neuron_of_plane"]:
    """dF/F of a plane with imaging noise, in steps of STEP."""
    clean = truth.traces(plane)
    noise = generator(truth.config.seed, plan.name, "imaging", plane).normal(0, truth.config.imaging_noise, clean.shape)
    return STEP * np.round((clean + noise).T / STEP)


def traces_of_plane(
    plane: int, rois: PlaneSegmentation, traces: Float[np.ndarray, "volume neuron"]
) -> RoiResponseSeries:
    """The dF/F of a plane, (volumes, ROIs)."""
    about = f"the ROIs in PlaneSegmentation_{plane}"
    return RoiResponseSeries(
        name=f"dF_over_F_plane_{plane}",
        description=f"dF/F of {about}",
        data=compressed(traces, chunks=(min(len(traces), max(1, CHUNK // traces.shape[1])), traces.shape[1])),
        unit="A.U.",
        rois=rois.create_roi_table_region(region=list(range(len(rois))), description=about),
        timestamps=compressed(image_times(np.arange(len(traces)) * CYCLE + plane)),
    )
