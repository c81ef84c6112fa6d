"""Tiny files of the layout of DANDI:000579 (data/README.md), with all its names, written with pynwb alone.

Every number in them is known: `trace` and `velocity` say what a file holds, from nothing but the indices of its frames.
"""

import dataclasses
import datetime
import itertools
from pathlib import Path

import h5py
import numpy as np
from pynwb import NWBHDF5IO, NWBFile, TimeSeries
from pynwb.behavior import BehavioralTimeSeries, Position, SpatialSeries
from pynwb.file import Subject
from pynwb.ophys import DfOverF, ImageSegmentation, OpticalChannel, RoiResponseSeries

RATE = 30.0  # Hz, of single frames
FIRST = 7  # frame at which the task starts: in the middle of a volume of five
START = 12.5  # s, time of frame 0
STEM, ARM = 11, 9  # 30 Hz frames of each trial on the stem, and after them in the arm
ROIS = (2, 3, 1, 2)  # of the planes


@dataclasses.dataclass(frozen=True)
class Recording:
    """What to write; the defects are off.

    Attributes:
        lengths: 30 Hz frames of each trial.
        numbers: of the trials; counted if None. They may skip: the trial table has a row for each number all the same.
        tail: frames after the last trial.
        rois: ROIs of each plane.
        lost: rows that the traces of each plane lack at their end.
        labels: ROIs have mTagBFP2 and mScarlet.
        rows: rows of the trial table; enough for the numbers if None.
        shift: s by which the trial table is late.
        arms: whether the mouse came to an arm in each trial; it did in all if None.
        bad: (plane, ROI): value that its trace has everywhere.
        silent: 30 Hz frames without velocity.
        nameless: 30 Hz frames without a trial number.
        single: a single-plane file.
        extension: lab metadata of an extension that nobody has.
    """

    lengths: tuple[int, ...] = (33, 27, 31)
    numbers: tuple[int, ...] | None = None
    tail: int = 3
    rois: tuple[int, ...] = ROIS
    lost: tuple[int, ...] = (0, 0, 0, 0)
    labels: bool = True
    rows: int | None = None
    shift: float = 0.0
    arms: tuple[bool, ...] | None = None
    bad: dict[tuple[int, int], float] = dataclasses.field(default_factory=dict)
    silent: tuple[int, ...] = ()
    nameless: tuple[int, ...] = ()
    single: bool = False
    extension: bool = False
    session_id: str | None = "mouse_9_session_date_2017-08-19_area_visA_L23_multi_plane_imaging"
    subject: str = "9"

    @property
    def frames(self) -> int:
        """30 Hz frames in all."""
        return FIRST + sum(self.lengths) + self.tail

    @property
    def trials(self) -> list[tuple[int, int, int]]:
        """Number, first frame and the frame after the last one of each trial."""
        borders = itertools.accumulate(self.lengths, initial=FIRST)
        numbers = range(len(self.lengths)) if self.numbers is None else self.numbers
        return [(number, *pair) for number, pair in zip(numbers, itertools.pairwise(borders), strict=True)]


def trace(plane: int, rows: np.ndarray, rois: int) -> np.ndarray:
    """Traces (rows, ROIs) of a plane: the row, a thousand times the plane and ten thousand times the ROI."""
    return np.asarray(rows, float)[:, None] + 1e3 * plane + 1e4 * np.arange(rois)


def velocity(frames: np.ndarray) -> np.ndarray:
    """Pitch, roll and yaw of 30 Hz frames."""
    return np.asarray(frames, float)[:, None] * [1.0, -2.0, 0.5]


def time(frame: float) -> float:
    """Time of a 30 Hz frame in s."""
    return START + frame / RATE


def row_conditions(row: int) -> dict[str, bool]:
    """Conditions in a row of the trial table."""
    return {
        "is_cueB": row % 2 == 0,
        "is_choL": row % 3 == 0,
        "is_ruleA": row < 2,
        "is_correct": row != 1,
        "is_switch": row == 2,
    }


def write_dandi(path: Path, recording: Recording | None = None) -> Path:
    """Write a file."""
    recording = recording or Recording()
    nwb = NWBFile(
        session_description="test",
        identifier="Mouse_9_session_date_2017-08-19",
        session_start_time=datetime.datetime(2017, 8, 19, tzinfo=datetime.UTC),
        session_id=recording.session_id,
        subject=Subject(subject_id=recording.subject),
    )
    add_behaviour(nwb, recording)
    add_planes(nwb, recording)
    add_trials(nwb, recording)
    add_epochs(nwb, recording)
    path.parent.mkdir(parents=True, exist_ok=True)
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    if recording.extension:
        with h5py.File(path, "a") as file:
            group = file.create_group("general/harvey_lab_swac_metadata_session")
            group.attrs.update(
                {"namespace": "ndx-harvey-swac", "neurodata_type": "LabMetaDataSession", "object_id": "0"}
            )
    return path


def add_behaviour(nwb: NWBFile, recording: Recording) -> None:
    """Add the module behavior; the position has the timestamps of all series."""
    module = nwb.create_processing_module(name="behavior", description="processed behavioral data")
    frames = np.arange(recording.frames)
    numbers = np.full(recording.frames, np.nan)
    for number, first, last in recording.trials:
        numbers[first:last] = number
    numbers[list(recording.nameless)] = np.nan
    speed = velocity(frames)
    speed[list(recording.silent)] = np.nan
    place = SpatialSeries(
        name="frame_aligned_forward_and_lateral_position",
        data=np.where(np.isnan(numbers)[:, None], np.nan, frames[:, None] * [0.01, 0.001]),
        unit="m",
        timestamps=time(frames),
        reference_frame="start of the maze stem",
    )
    shared = {"timestamps": place, "unit": "A.U."}
    moves = TimeSeries(name="frame_aligned_pitch_roll_yaw_velocity", data=speed, **shared)
    module.add(Position(name="frame_aligned_position", spatial_series=place))
    module.add(BehavioralTimeSeries(name="frame_aligned_velocity", time_series=moves))
    module.add(TimeSeries(name="frame_aligned_trial_number", data=numbers, **shared))
    module.add(TimeSeries(name="frame_aligned_time_from_choice_point", data=frames / RATE, **shared))
    if not recording.single:
        module.add(TimeSeries(name="plane_idx_for_imaging_frames", data=frames % 5, **shared))


def add_planes(nwb: NWBFile, recording: Recording) -> None:
    """Add the module ophys: a segmentation, deconvolved activity and dF/F of each plane, on shared timestamps."""
    module = nwb.create_processing_module(name="ophys", description="two photon calcium imaging processed data")
    segmentation = ImageSegmentation()
    module.add(segmentation)
    channel = OpticalChannel(name="OpticalChannel_GCaMP", description="GCaMP", emission_lambda=525.0)
    imaging = nwb.create_imaging_plane(
        name="ImagingPlane_GCaMP6s_920nm",
        optical_channel=channel,
        imaging_rate=30.0,
        description="test",
        device=nwb.create_device(name="two_photon_microscope"),
        excitation_lambda=920.0,
        indicator="GCaMP6s",
        location="visA",
    )
    for plane in range(1 if recording.single else 4):
        table = segmentation.create_plane_segmentation(
            name=f"PlaneSegmentation_{plane}", description="test", imaging_plane=imaging
        )
        add_rois(table, plane, recording)
        add_traces(module, table, plane, recording)


def add_rois(table, plane: int, recording: Recording) -> None:
    """Add the rows and columns of a PlaneSegmentation; the first ROI of a plane is in V1, the others in A."""
    count = recording.rois[plane]
    for roi in range(count):
        table.add_roi(id=roi, pixel_mask=[(roi, 0, 1.0), (roi, 1, 1.0)])
    columns = {
        "ml": [-2.0 + 0.1 * roi for roi in range(count)],
        "ap": [-3.0 - plane] * count,
        "depth": [0.1 + 0.05 * plane] * count,
        "area": ["V1", *["A"] * (count - 1)],
    }
    if recording.labels:
        columns |= {"mTagBFP2": [roi == 0 for roi in range(count)], "mScarlet": [roi == 1 for roi in range(count)]}
    for name, values in columns.items():
        table.add_column(name=name, description=name, data=values)


def add_traces(module, table, plane: int, recording: Recording) -> None:
    """Add deconvolved_activity_plane_k, and df_over_f_plane_k with dF_over_F_plane_k; the first has the timestamps."""
    frames = np.arange(recording.frames) if recording.single else np.arange(plane, recording.frames, 5)
    frames = frames[: len(frames) - recording.lost[plane]]
    data = trace(plane, np.arange(len(frames)), recording.rois[plane])
    for (bad_plane, roi), value in recording.bad.items():
        if bad_plane == plane:
            data[:, roi] = value
    rois = table.create_roi_table_region(region=list(range(recording.rois[plane])), description="all")
    deconvolved = RoiResponseSeries(
        name=f"deconvolved_activity_plane_{plane}",
        data=np.zeros_like(data),
        rois=rois,
        unit="A.U.",
        timestamps=time(frames) * (2000 if recording.single else 1),
    )
    traces = RoiResponseSeries(
        name=f"dF_over_F_plane_{plane}", data=data, rois=rois, unit="A.U.", timestamps=deconvolved
    )
    module.add(DfOverF(name=f"df_over_f_plane_{plane}", roi_response_series=traces))
    module.add(deconvolved)


def add_trials(nwb: NWBFile, recording: Recording) -> None:
    """Add the trial table; a row whose number no frame has lies in the instant before the next trial."""
    spans = {number: (time(first), time(last - 1)) for number, first, last in recording.trials}
    count = max(spans) + 1 if recording.rows is None else recording.rows
    plain = {"is_vis": False} | row_conditions(0)
    numbers = ("rule_belief", "signed_bias", "rule_following", "bias_following", "prob_actual_cho")
    vectors = {"association_mat": 4, "trial_onset_plane_frame_idx": 5, "trial_offset_plane_frame_idx": 5}
    for name in (*plain, *numbers, *vectors):
        nwb.add_trial_column(name=name, description=name)
    later = time(recording.frames)
    for row in reversed(range(count)):
        later = spans.get(row, (later - 0.001, later))[0]
        spans.setdefault(row, (later, later))
    for row in range(count):
        nwb.add_trial(
            start_time=spans[row][0] + recording.shift,
            stop_time=spans[row][1] + recording.shift,
            is_vis=False,
            **row_conditions(row),
            **dict.fromkeys(numbers, 0.1 * row),
            **{name: np.full(size, row) for name, size in vectors.items()},
        )


def add_epochs(nwb: NWBFile, recording: Recording) -> None:
    """Add the epochs of all trials: STEM frames of maze_stem, ARM frames of maze_arm, feedback and ITI in the rest."""
    nwb.add_epoch_column(name="epoch_type", description="type of epoch")
    nwb.add_epoch_column(name="trial_id", description="trial number for this epoch")
    arms = recording.arms or (True,) * len(recording.lengths)
    for (number, first, last), arm in zip(recording.trials, arms, strict=True):
        kinds = {"maze": (0, STEM + ARM), "maze_stem": (0, STEM if arm else STEM + ARM)}
        kinds |= {"maze_arm": (STEM, STEM + ARM)} if arm else {}
        kinds |= {"feedback_delay": (STEM + ARM, STEM + ARM + 2), "feedback": (STEM + ARM + 2, STEM + ARM + 3)}
        kinds |= {"iti": (STEM + ARM + 3, last - first), "feedback_and_iti": (STEM + ARM, last - first)}
        for kind, (begin, end) in kinds.items():
            nwb.add_epoch(
                start_time=time(first + begin), stop_time=time(first + end - 1), epoch_type=kind, trial_id=number
            )
