"""A synthetic session as an NWB file of the layout of DANDI:000579, without the lab's own extension.

Names, containers, units and columns are those of the real files; what the project does not read is left out: raw data
of the virtual reality and the ball, images, retrograde labels, the lab's predictions of choice from velocity.
"""

import datetime
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from hdmf.common import ElementIdentifiers, VectorData
from pynwb import NWBHDF5IO, NWBFile, TimeSeries
from pynwb.behavior import BehavioralTimeSeries, Position, SpatialSeries
from pynwb.epoch import TimeIntervals
from pynwb.file import Subject

from calm.synthetic.cohort import SessionPlan
from calm.synthetic.maze import CYCLE, Behaviour
from calm.synthetic.planes import add_planes, compressed, frame_times
from calm.synthetic.truth import Truth

SUBJECT = {"species": "Mus musculus", "sex": "U", "age": "P120D/", "description": "Synthetic: there is no such mouse."}
TRIAL_COLUMNS = {
    "is_vis": "visually guided trial; never here",
    "is_ruleA": "rule A: black left, white right; else rule B: white left, black right",
    "is_switch": "the rule switches on this trial",
    "is_cueB": "black cue, else white",
    "is_choL": "left choice, else right",
    "is_correct": "correct choice",
    "association_mat": "P(R|W), P(L|W), P(R|B), P(L|B): the probabilities that choices are drawn from",
    "rule_belief": "positive: rule B, negative: rule A; between -1 and 1",
    "signed_bias": "positive: left, negative: right; the synthetic mouse has none",
    "rule_following": "P(choice | cue) - P(choice)",
    "bias_following": "P(choice) - 0.5",
    "prob_actual_cho": "P(choice | cue) of the choice made",
    "trial_onset_plane_frame_idx": "first row of the trial in each plane, from 0",
    "trial_offset_plane_frame_idx": "last row of the trial in each plane, from 0",
}
EPOCHS = {  # first frame, and the frame behind the last
    "maze": ("start", "choice"),
    "maze_stem": ("start", "arm"),
    "maze_arm": ("arm", "choice"),
    "feedback_delay": ("choice", "feedback"),
    "feedback": ("feedback", "iti"),
    "iti": ("iti", "stop"),
    "feedback_and_iti": ("choice", "stop"),
}


def write_session_file(plan: SessionPlan, behaviour: Behaviour, truth: Truth, path: Path) -> None:
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
    add_trials(nwb, behaviour)
    add_epochs(nwb, behaviour.trials)
    add_planes(nwb, plan, truth)
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)


def add_behaviour(nwb: NWBFile, behaviour: Behaviour) -> None:
    """Add what the mouse did, a row a frame of the microscope, all on the timestamps of the position."""
    position = SpatialSeries(
        name="frame_aligned_forward_and_lateral_position",
        data=compressed(behaviour.position),
        unit="m",
        timestamps=compressed(frame_times(np.arange(behaviour.frames))),
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
    module = nwb.create_processing_module(name="behavior", description="Behaviour on the frames of the microscope.")
    module.add(Position(name="frame_aligned_position", spatial_series=position))
    module.add(BehavioralTimeSeries(name="frame_aligned_velocity", time_series=velocity))
    planes, seconds = np.arange(behaviour.frames) % CYCLE, behaviour.time_from_choice
    channels = {
        "frame_aligned_trial_number": (behaviour.number, "N.A.", "trial, from 0; NaN outside the task"),
        "frame_aligned_time_from_choice_point": (seconds, "s", "time from the end of the maze, negative in it"),
        "plane_idx_for_imaging_frames": (planes, "N.A.", "plane of the frame; 4 is the way back"),
    }
    for name, (data, unit, text) in channels.items():
        module.add(TimeSeries(name=name, data=compressed(data), unit=unit, description=text, timestamps=position))


def trial_columns(behaviour: Behaviour) -> dict[str, np.ndarray]:
    """The columns of the trial table but its times; what a model of behaviour gives in the real files is exact here."""
    trials = behaviour.trials
    correct = trials["probability"].to_numpy()
    black_left = np.where(trials["rule_a"], correct, 1 - correct)
    white_left = 1 - black_left
    made = np.where(trials["correct"], correct, 1 - correct)
    planes = np.arange(CYCLE)
    onset, end = (-((planes - trials[edge].to_numpy()[:, None]) // CYCLE) for edge in ("start", "stop"))
    nothing = np.zeros(len(trials))
    values = (
        *(nothing.astype(bool), trials["rule_a"], trials["switch"], trials["black"], trials["left"], trials["correct"]),
        np.column_stack([1 - white_left, white_left, 1 - black_left, black_left]),
        *(1 - 2 * black_left, nothing, made - 0.5, nothing, made),
        *(onset.astype(np.int32), (end - 1).astype(np.int32)),
    )
    return {name: np.asarray(column) for name, column in zip(TRIAL_COLUMNS, values, strict=True)}


def time_table(
    name: str, about: str, first: np.ndarray, behind: np.ndarray, columns: Mapping[str, tuple]
) -> TimeIntervals:
    """A table of intervals, from the middle of their first to that of their last frame, as in the real files."""
    times = {"start_time": first, "stop_time": behind - 1}
    return TimeIntervals(
        name=name,
        description=about,
        id=ElementIdentifiers(name="id", data=np.arange(len(first), dtype=np.int32)),
        columns=[
            *(VectorData(name=key, description=f"{key}, s", data=frame_times(frame)) for key, frame in times.items()),
            *(VectorData(name=key, description=text, data=data) for key, (text, data) in columns.items()),
        ],
    )


def add_trials(nwb: NWBFile, behaviour: Behaviour) -> None:
    """Add the trial table."""
    columns = {name: (TRIAL_COLUMNS[name], data) for name, data in trial_columns(behaviour).items()}
    edges = (behaviour.trials[edge].to_numpy() for edge in ("start", "stop"))
    nwb.trials = time_table("trials", "experimental trials", *edges, columns)


def add_epochs(nwb: NWBFile, trials: pd.DataFrame) -> None:
    """Add the table of the parts of each trial."""
    first, behind = (trials[[edges[side] for edges in EPOCHS.values()]].to_numpy().ravel() for side in range(2))
    columns = {
        "epoch_type": ("type of epoch: " + ", ".join(EPOCHS), list(EPOCHS) * len(trials)),
        "trial_id": ("trial number", np.repeat(np.arange(len(trials), dtype=np.int32), len(EPOCHS))),
    }
    nwb.epochs = time_table("epochs", "parts of trials", first, behind, columns)
