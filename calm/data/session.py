"""A session: a recording cut into trials; what sessions share, and what makes one unusable."""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.config.base import Config
from calm.data.recording import SAME_RATE, UNKNOWN_UNIT, Recording, extent, is_coarse
from calm.errors import CalmError
from calm.trial_file import shapes_of

SPLITS = ("train", "val", "test")
MIN_TRIALS = 7  # the fewest that leave at least one trial in each split, 70/15/15
FIRST_FRAME = "first_frame_time"  # column of the trial table: when the first frame of each trial was taken, in s
LARGEST = 1e100  # value that counts as finite: double precision can hold its square
FARTHEST = 17  # frames of a neuron among which a jump is looked for
JUMP = 10_000  # times as far from the median as the next frame: no fluorescence is
SPLIT_GROUP = "split_group"  # column of the trial table, if there is one: trials with one number stay in one split


class Preparation(Config):
    """What `prepare` did to a session, which has the scales itself.

    Attributes:
        seed: of the split.
        smoothing: weight of the newest frame in the causal smoothing; 1 is none.
    """

    seed: int
    smoothing: float

    def __str__(self) -> str:
        return f"prepared with seed {self.seed} and smoothing {self.smoothing:g}"


@dataclasses.dataclass(frozen=True, eq=False)
class Session:
    """One recording of one subject, cut into trials that may differ in length.

    Attributes:
        name: unique name of the session.
        subject: the animal.
        rate: frames per second.
        traces: per trial, fluorescence (dF/F, or z-scores once prepared), "neuron frame".
        behaviour: per trial, behavioural channels on the same frames, "frame behaviour".
        behaviour_names: one name per behavioural channel.
        trials: one row per trial, with FIRST_FRAME if it was read from a recording; `prepare` adds `split`.
        neurons: one row per neuron; `prepare` adds `mean` and `sd` of the training frames.
        preparation: what `prepare` did; None if the session is as recorded.
        unit: of the traces as recorded.
        behaviour_scale: once prepared, `mean` and `sd` of each channel on the training frames.
    """

    name: str
    subject: str
    rate: float
    traces: Sequence[Float[np.ndarray, "neuron _frame"]]
    behaviour: Sequence[Float[np.ndarray, "_frame behaviour"]]
    behaviour_names: tuple[str, ...]
    trials: pd.DataFrame
    neurons: pd.DataFrame
    preparation: Preparation | None = None
    unit: str = UNKNOWN_UNIT
    behaviour_scale: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)

    @functools.cached_property
    def frames(self) -> Int[np.ndarray, " trial"]:
        """Number of frames of each trial."""
        return np.array([columns for _, columns in shapes_of(self.traces)])

    @property
    def neuron_names(self) -> list[str]:
        """A name for each neuron, by its `id`; by its place where ids repeat, as those of several planes may."""
        ids = self.neurons.get("id", self.neurons.index)
        return [f"neuron {each}" for each in (ids if ids.is_unique else range(len(ids)))]

    def trials_of(self, split: str) -> Int[np.ndarray, " trial"]:
        """Indices of the trials in one split of a prepared session."""
        return np.flatnonzero(self.trials["split"] == split)

    def fingerprint(self) -> str:
        """SHA-256 over the name, the traces, the behaviour and the split: the identity of this input."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(self.name.encode())
        for array in itertools.chain(self.traces, self.behaviour):
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        digest.update(" ".join(self.trials.get("split", pd.Series(dtype=str))).encode())
        return digest.hexdigest()


def cut(recording: Recording, trials: pd.DataFrame, edges: Int[np.ndarray, "trial 2"]) -> Session:
    """The session of some trials: `edges` has the first frame of each and the frame after its last."""
    return Session(
        name=recording.name,
        subject=recording.subject,
        rate=recording.rate,
        traces=tuple(np.ascontiguousarray(recording.traces[:, first:last]) for first, last in edges),
        behaviour=tuple(recording.behaviour[first:last] for first, last in edges),
        behaviour_names=recording.behaviour_names,
        trials=trials.assign(**{FIRST_FRAME: recording.timestamps[edges[:, 0]]}),
        neurons=recording.neurons,
        unit=recording.unit,
    )


def odd_rates(sessions: Sequence[Session]) -> str:
    """A sentence about the sessions whose frame rate is not that of most; empty if all have one."""
    rates = np.array([session.rate for session in sessions])
    usual = np.sort(rates)[(len(rates) - 1) // 2]
    odd = [session for session in sessions if abs(session.rate - usual) > SAME_RATE * usual]
    if not odd:
        return ""
    listed = ", ".join(f"{session.name} ({session.rate:.3g})" for session in odd)
    return (
        f"most sessions have {usual:.3g} frames per second, but not {listed}: a decoder of all needs one rate, leave"
        " them out with `exclude`, or bring all to one with `resample`."
    )


def cut_trials(
    session: Session, trials: Int[np.ndarray, " trial"], context: int, horizon: int | None = None
) -> tuple[list[Float[np.ndarray, "neuron context"]], list[Float[np.ndarray, "neuron _horizon"]]]:
    """What a forecaster gets, the first `context` frames of each trial, and what it has to forecast.

    That is the rest of the trial, or the first `horizon` frames of it.
    """
    traces, stop = [session.traces[trial] for trial in trials], None if horizon is None else context + horizon
    return [trace[:, :context] for trace in traces], [trace[:, context:stop] for trace in traces]


def shared_behaviours(sessions: Sequence[Session]) -> tuple[str, ...]:
    """Names of the behavioural channels, which all sessions must have, with values to train on and to validate with.

    Raises:
        CalmError: a session without behaviour, or none in the trials of a split; sessions that differ in it.
    """
    first = sessions[0]
    for session in sessions:
        if not session.behaviour_names:
            raise CalmError(
                f"Session {session.name} has no behaviour to decode: name its series under `behaviour` in the dataset"
                " description."
            )
        if session.behaviour_names != first.behaviour_names:
            raise CalmError(
                f"Session {first.name} has the behaviour {', '.join(first.behaviour_names)}, but session"
                f" {session.name} has {', '.join(session.behaviour_names)}: train a decoder for each."
            )
        for split in ("train", "val"):
            if not any(np.isfinite(session.behaviour[trial]).any() for trial in session.trials_of(split)):
                raise CalmError(
                    f"Session {session.name}: no behaviour was recorded in its {split} trials: leave the session out."
                )
    return first.behaviour_names


def describe_neurons(indices: Int[np.ndarray, " bad"]) -> str:
    """Count and first few indices, for messages: `3 neurons (0, 4, 7)`."""
    shown = ", ".join(map(str, indices[:5])) + (", ..." if len(indices) > 5 else "")
    return f"{len(indices)} neuron{'s' * (len(indices) != 1)} ({shown})"


def bad_neurons(session: Session) -> dict[str, Int[np.ndarray, " bad"]]:
    """The neurons that nothing can be learned about, by what is wrong with them; each is told once."""
    flat = np.concatenate(session.traces, axis=1)
    largest, span = extent(flat)
    broken = ~np.isfinite(flat).all(axis=1) | (largest > LARGEST)
    faults = {
        "NaN or infinite values": broken,
        "no change at all": ~broken & (span == 0),
        f"less change beside their offset than {flat.dtype} resolves": ~broken
        & is_coarse(largest, span, flat.dtype.type),
        f"frames more than {JUMP:,} times as far from the median as all others": ~broken
        & np.array([stands_out(trace) for trace in flat], bool),
    }
    return {fault: np.flatnonzero(neurons) for fault, neurons in faults.items() if neurons.any()}


def stands_out(trace: Float[np.ndarray, " frame"]) -> bool:
    """Whether few frames dwarf all others, which the z-score would press to zero: artefacts, not fluorescence."""
    with np.errstate(invalid="ignore"):  # NaN is told elsewhere
        distance = np.abs(trace.astype(float) - np.median(trace))
    top = np.sort(np.partition(distance, -min(FARTHEST, len(distance)))[-FARTHEST:])
    return bool(((top[:-1] > 0) & (top[1:] > JUMP * top[:-1])).any())


def drop_neurons(session: Session, indices: Int[np.ndarray, " bad"]) -> Session:
    """The session without these neurons."""
    keep = np.setdiff1d(np.arange(len(session.neurons)), indices)
    return dataclasses.replace(
        session,
        traces=tuple(trace[keep] for trace in session.traces),
        neurons=session.neurons.iloc[keep].reset_index(drop=True),
    )


def check_shapes(session: Session) -> None:
    """Refuse a session whose fields do not belong together."""
    where = f"Session {session.name}"
    counts = len(session.traces), len(session.behaviour), len(session.trials)
    if len(set(counts)) > 1:
        raise CalmError(
            f"{where} has traces of {counts[0]} trials, behaviour of {counts[1]} and a table of {counts[2]}: give each"
            " trial all three."
        )
    neurons = len(session.neurons)
    for trial, (rows, columns) in enumerate(shapes_of(session.traces)):
        if rows != neurons:
            raise CalmError(
                f"{where}: trial {trial} has traces ({rows}, {columns}), but they must be (neurons, frames), and the"
                f" neuron table has {neurons} rows: transpose or mend them."
            )


def validate(session: Session, *, min_frames: int = 1) -> None:
    """Refuse a session that cannot be analysed.

    Raises:
        CalmError: no trials or neurons, a trial shorter than `min_frames`, bad neurons, infinite behaviour.
    """
    where = f"Session {session.name}"
    check_shapes(session)
    if not session.traces:
        raise CalmError(f"{where} has no trials: check the trial table and that traces cover it.")
    if not len(session.neurons):
        raise CalmError(f"{where} has no neurons: check the series named in the dataset description.")
    if session.frames.min() < min_frames:
        raise CalmError(
            f"{where}: trial {session.frames.argmin()} has {session.frames.min()} frames, but the context and one"
            f" token need {min_frames}: shorten `context` or set `min_frames` in the dataset description."
        )
    lost = [trial for trial, trace in enumerate(session.traces) if not np.isfinite(trace).any(axis=0).all()]
    if lost:
        raise CalmError(
            f"{where}: {len(lost)} trials, the first of them {lost[0]}, have frames that are NaN in all neurons: leave"
            " these trials out."
        )
    for fault, neurons in bad_neurons(session).items():
        raise CalmError(
            f"{where}: {fault} in {describe_neurons(neurons)}: mend them (`fill_gaps` does so for short NaN), or leave"
            " them out with `bad_neurons: drop` in the dataset description."
        )
    for trial, channels in enumerate(session.behaviour):
        if np.isinf(channels).any():
            name = session.behaviour_names[np.isinf(channels).any(axis=0).argmax()]
            raise CalmError(f"{where}: {name} is infinite in trial {trial}: write NaN where it is not known.")


def fingerprints(sessions: Sequence[Session]) -> list[str]:
    """Hash of each session."""
    return [session.fingerprint() for session in sessions]


def neuron_counts(sessions: Sequence[Session]) -> dict[str, int]:
    """Number of neurons of each session."""
    return {session.name: len(session.neurons) for session in sessions}
