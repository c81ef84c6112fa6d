"""What every method is chosen by on validation trials: correlation of forecasts, squared error of behaviour."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from calm.config.fitting import ForecastConfig
from calm.data.session import Session, cut_trials
from calm.errors import CalmError
from calm.metrics import trial_correlation
from calm.models.interfaces import Decoder, Forecaster


def compared_trials(session: Session, split: str, config: ForecastConfig) -> Int[np.ndarray, " compared"]:
    """The trials of a split on which forecasts are compared: those, one at least, that reach the end of the horizon."""
    trials, frames = session.trials_of(split), config.context + (config.horizon or 1)
    if not (session.frames[trials] >= frames).any():
        raise CalmError(
            f"Session {session.name}: no {split} trial has the {frames} frames of context and horizon: shorten one."
        )
    return trials[session.frames[trials] >= frames]


def forecast_futures(
    forecaster: Forecaster, session: Session, trials: Int[np.ndarray, " part"], config: ForecastConfig
) -> tuple[list[Float[np.ndarray, "neuron _horizon"]], list[Float[np.ndarray, "neuron _horizon"]]]:
    """What happened after the context of some trials, and what was forecast: z-scores of each trial."""
    contexts, futures = cut_trials(session, trials, config.context, config.horizon)
    return futures, forecaster.forecast(contexts, [future.shape[1] for future in futures])


def validation_correlation(forecaster: Forecaster, session: Session, config: ForecastConfig) -> float:
    """Mean forecast correlation on validation trials of a session: what every method of one session is chosen by."""
    trials = compared_trials(session, "val", config)
    # Evenly from first to last: within a session, recordings drift.
    count = min(len(trials), config.validation_trials)
    trials = trials[np.arange(count) * len(trials) // count]
    return float(np.mean(list(map(trial_correlation, *forecast_futures(forecaster, session, trials, config)))))


def validation_correlations(
    forecaster_of: Callable[[Session], Forecaster], sessions: Sequence[Session], config: ForecastConfig
) -> float:
    """The mean of it over sessions, each with an equal share of the trials: what a method of them all is chosen by."""
    each = config.changed(validation_trials=max(1, config.validation_trials // len(sessions)))
    return float(np.mean([validation_correlation(forecaster_of(session), session, each) for session in sessions]))


def validation_error(decoder: Decoder, session: Session) -> float:
    """Mean squared error over the recorded values of the validation trials, in squared z-scores (App. B)."""
    trials = session.trials_of("val")
    true = np.concatenate([session.behaviour[trial] for trial in trials])
    if not np.isfinite(true).any():
        raise CalmError(f"Session {session.name}: no behaviour in the validation trials: choose another `seed`.")
    decoded = np.concatenate(decoder.decode([session.traces[trial] for trial in trials]))
    return float(np.nanmean(np.square(true.astype(np.float64) - decoded)))
