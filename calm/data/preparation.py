"""The preparation of a session: checked, split, smoothed and z-scored; and the way back into its own units."""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.data.recording import extent, single, suits_single
from calm.data.session import MIN_TRIALS, SPLIT_GROUP, SPLITS, Preparation, Session, describe_neurons, validate
from calm.errors import CalmError

UNITS = ("z-score", "original")  # that prepared traces can be given back in
SMALL_SD = 1e-3  # below which 1e-6 would shrink the z-scores by more than a thousandth


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
