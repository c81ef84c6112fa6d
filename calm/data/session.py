"""A session: a recording cut into trials; and its preparation: checked, split, smoothed and z-scored."""

import dataclasses
import functools
import hashlib
import itertools
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.config import Config
from calm.data.recording import SAME_RATE, UNKNOWN_UNIT, Recording, extent, is_coarse, single, suits_single
from calm.errors import CalmError
from calm.trial_file import shapes_of

SPLITS = ("train", "val", "test")
UNITS = ("z-score", "original")  # that prepared traces can be given back in
MIN_TRIALS = 7  # the fewest that leave at least one trial in each split, 70/15/15
FIRST_FRAME = "first_frame_time"  # column of the trial table: when the first frame of each trial was taken, in s
LARGEST = 1e100  # value that counts as finite: double precision can hold its square
FARTHEST = 17  # frames of a neuron among which a jump is looked for
JUMP = 10_000  # times as far from the median as the next frame: no fluorescence is
SMALL_SD = 1e-3  # below which 1e-6 would shrink the z-scores by more than a thousandth
SPLIT_GROUP = "split_group"  # column of the trial table, if there is one: trials with one number stay in one split


class Preparation(Config):
    """What `prepare` did to a session, which has the scales itself.

    Attributes:
        seed: of the split.
        smoothing: weight of the newest frame in the causal smoothing; 1 is none.
    """

    seed: int
    smoothing: float = 1.0

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
    usual = np.sort(rates)[(len(rates) - 1) // 2] if len(rates) else 0.0
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


def split_trials(count: int, seed: int) -> list[str]:
    """Assign trials at random to train, val and test, 70/15/15, as the paper does.

    Raises:
        CalmError: fewer trials than a split needs.
    """
    if count < MIN_TRIALS:
        raise CalmError(
            f"{count} trials are too few for a 70/15/15 split, which needs {MIN_TRIALS}: cut the recording into"
            " `windows` instead, or into shorter ones."
        )
    borders = np.round(np.array([0.7, 0.85]) * count).astype(int)
    splits = np.repeat(np.array(SPLITS, dtype=object), np.diff([0, *borders, count]))
    return list(splits[np.argsort(np.random.default_rng(seed).permutation(count))])


def splits_of(trials: pd.DataFrame, seed: int) -> list[str]:
    """The split of every trial; those of one SPLIT_GROUP are assigned as one.

    Raises:
        CalmError: see `split_trials`.
    """
    groups = pd.factorize(trials.get(SPLIT_GROUP, np.arange(len(trials))))[0]
    splits = split_trials(len(set(groups)), seed)
    return [splits[group] for group in groups]


def smooth(trace: Float[np.ndarray, "neuron frame"], weight: float) -> Float[np.ndarray, "neuron frame"]:
    """Causal exponential smoothing within a trial, y_t = weight x_t + (1 - weight) y_{t-1}, y_0 = x_0.

    `weight` 1 leaves the trace as it is; the authors' code uses 0.15, which the paper does not mention.
    """
    smoothed = trace.copy()
    for frame in range(1, trace.shape[1]):
        smoothed[:, frame] = weight * trace[:, frame] + (1 - weight) * smoothed[:, frame - 1]
    return smoothed


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
            f"{where}: {fault} in {describe_neurons(neurons)}: mend them or leave them out with `bad_neurons: drop`"
            " in the dataset description."
        )
    for trial, channels in enumerate(session.behaviour):
        if np.isinf(channels).any():
            name = session.behaviour_names[np.isinf(channels).any(axis=0).argmax()]
            raise CalmError(f"{where}: {name} is infinite in trial {trial}: write NaN where it is not known.")


def zscore(
    arrays: Sequence[Float[np.ndarray, "channel _frame"]], train: Int[np.ndarray, " trial"]
) -> tuple[tuple[Float[np.ndarray, "channel _frame"], ...], pd.DataFrame]:
    """Z-score every array with the mean and sd of the training arrays' frames, ignoring NaN.

    The authors' 1e-6 is added to the sd only where that changes nothing, so that traces of any scale are treated alike.
    Returns the scaled arrays and the scale, a row for each channel, `mean` and `sd`.
    """
    reference = np.concatenate([arrays[index] for index in train], axis=1)
    if not suits_single(reference):
        reference = reference.astype(float)
    mean, sd = np.nanmean(reference, axis=1), np.nanstd(reference, axis=1)
    sd = np.where(sd < SMALL_SD, sd, sd + 1e-6)
    scaled = tuple(((array - mean[:, None]) / sd[:, None]).astype(np.float32) for array in arrays)
    return scaled, pd.DataFrame({"mean": mean, "sd": sd})


def to_unit(
    scale: pd.DataFrame, scores: Sequence[Float[np.ndarray, "*sample channel _frame"]], unit: str
) -> list[Float[np.ndarray, "*sample channel _frame"]]:
    """Z-scores of a prepared session in a unit: `z-score`, as they are, or `original`, that of its file.

    `scale` has the `mean` and `sd` of each channel: the neuron table of the session, or its `behaviour_scale`.

    Raises:
        CalmError: another unit.
    """
    if unit not in UNITS:
        raise CalmError(f"There is no unit {unit!r}: choose {' or '.join(map(repr, UNITS))}.")
    if unit == "z-score":
        return list(scores)
    mean, sd = (scale[[name]].to_numpy(float) for name in ("mean", "sd"))
    return [single(each * sd + mean) for each in scores]


def check_training(session: Session, trials: pd.DataFrame) -> None:
    """Refuse what never changes, or is never recorded, in the training trials; tell what is still in the others.

    Raises:
        CalmError: a neuron or behaviour without a scale.
    """
    where, split = f"Session {session.name}", trials["split"].to_numpy()
    for name in SPLITS:
        _, span = extent(np.concatenate([session.traces[trial] for trial in np.flatnonzero(split == name)], axis=1))
        silent = np.flatnonzero(span == 0)
        if len(silent) and name == "train":
            raise CalmError(
                f"{where}: no change in the training trials in {describe_neurons(silent)}, so that nothing gives them a"
                " scale: leave them out of the file, or choose another seed."
            )
        if len(silent):
            warnings.warn(
                f"{where}: no change in the {name} trials in {describe_neurons(silent)}: whatever is forecast of them"
                " there scores 0; leave them out of the file, or choose another seed.",
                stacklevel=3,
            )
    _, span = extent(np.concatenate([session.behaviour[trial] for trial in np.flatnonzero(split == "train")]).T)
    for still, fault in ((np.isnan(span), "has no value"), (span == 0, "never changes")):
        if still.any():
            names = ", ".join(np.array(session.behaviour_names)[still])
            raise CalmError(f"{where}: {names} {fault} in the training trials: leave it out of `behaviour`.")


def prepare(session: Session, *, seed: int, smoothing: float = 1.0, min_frames: int = 1) -> Session:
    """Check, split, smooth and z-score a session; nothing outside the training trials sets the scale.

    Args:
        session: raw traces.
        seed: of the split.
        smoothing: weight of the newest frame in the causal smoothing; 1 is none.
        min_frames: shortest trial that can be used (context and one token).

    Raises:
        CalmError: see `validate` and `split_trials`; or something that the training trials give no scale for; or
            a session that is prepared already.
    """
    if session.preparation is not None:
        raise CalmError(f"Session {session.name} is prepared already: prepare it as it was read.")
    if not 0 < smoothing <= 1:
        raise CalmError(f"A `smoothing` of {smoothing} is no weight: it must be above 0, and 1 is none.")
    validate(session, min_frames=min_frames)
    try:
        splits = splits_of(session.trials, seed)
    except CalmError as error:
        raise CalmError(f"Session {session.name}: {error}") from None
    trials = session.trials.assign(split=splits)
    train = np.flatnonzero(trials["split"] == "train")
    check_training(session, trials)
    traces, scale = zscore([smooth(trace, smoothing) for trace in session.traces], train)
    behaviour, behaviour_scale = zscore([channels.T for channels in session.behaviour], train)
    return dataclasses.replace(
        session,
        traces=traces,
        behaviour=tuple(channels.T for channels in behaviour),
        trials=trials,
        neurons=session.neurons.assign(mean=scale["mean"].to_numpy(), sd=scale["sd"].to_numpy()),
        preparation=Preparation(seed=seed, smoothing=smoothing),
        behaviour_scale=behaviour_scale,
    )
