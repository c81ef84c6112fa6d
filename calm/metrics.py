"""Scores of forecasts, reconstructions and decoded behaviour: pure functions of true and predicted values."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scoringrules import crps_ensemble
from sklearn.metrics import r2_score

MIN_TRIALS = 3  # two trials always correlate at 1 or -1
BANDS = (50, 90)  # percent of a forecast distribution, in its middle


def standardise(series: Float[np.ndarray, "*batch frame"]) -> Float[np.ndarray, "*batch frame"]:
    """Centre the last axis and scale it to unit length; a constant series becomes zeros."""
    centred = series.astype(np.float64) - series.mean(axis=-1, keepdims=True, dtype=np.float64)
    length = np.linalg.norm(centred, axis=-1, keepdims=True)
    # The mean of a constant series is off by rounding, which scaling would blow up: hence the range, not the length.
    flat = (np.ptp(series, axis=-1, keepdims=True) == 0) | (length == 0)
    return np.where(flat, 0.0, centred) / np.where(flat, 1.0, length)


def pearson(
    first: Float[np.ndarray, "*batch frame"], second: Float[np.ndarray, "*batch frame"]
) -> Float[np.ndarray, "*batch"]:
    """Pearson correlation along the last axis; 0 where either series is constant, since it then predicts nothing."""
    return np.asarray(np.clip((standardise(first) * standardise(second)).sum(axis=-1), -1.0, 1.0))


def trial_correlation(true: Float[np.ndarray, "neuron frame"], predicted: Float[np.ndarray, "neuron frame"]) -> float:
    """Correlation of one trial: Pearson per neuron over frames, mean over neurons (Fig. 1B, 3B)."""
    return float(pearson(true, predicted).mean())


def trial_mse(true: Float[np.ndarray, "channel frame"], predicted: Float[np.ndarray, "channel frame"]) -> float:
    """Mean squared error of one trial over channels and frames, in squared units of the traces."""
    return float(np.square(true.astype(np.float64) - predicted).mean())


def poco_score(
    true: Sequence[Float[np.ndarray, "neuron _horizon"]],
    predicted: Sequence[Float[np.ndarray, "neuron _horizon"]],
    last: Sequence[Float[np.ndarray, "neuron 1"]],
) -> float:
    """1 - MSE / MSE of repeating the last frame of the context: the score of POCO's paper, of all trials together."""
    error, reference = (
        sum(np.square(trace.astype(np.float64) - each).sum() for trace, each in zip(true, forecasts, strict=True))
        for forecasts in (predicted, last)  # the last frame is repeated by broadcasting
    )
    return float(1 - error / reference)


def central_band(
    samples: Float[np.ndarray, "sample neuron horizon"], percent: int
) -> tuple[Float[np.ndarray, "neuron horizon"], Float[np.ndarray, "neuron horizon"]]:
    """Bounds of the central `percent` of a distribution, from samples of it.

    Quantiles by Weibull's definition, so that one more sample falls between them with just this probability; of too
    few samples (19 for 90 %) the bounds are the smallest and the largest, and it falls there less often.
    """
    tail = (1 - percent / 100) / 2
    low, high = np.quantile(samples, (tail, 1 - tail), axis=0, method="weibull")
    return np.asarray(low), np.asarray(high)


def distribution_scores(
    true: Float[np.ndarray, "neuron horizon"], samples: Float[np.ndarray, "sample neuron horizon"]
) -> dict[str, float]:
    """Scores of a forecast distribution of one trial, from samples of it: means over neurons and frames.

    Returns:
        `crps`, the continuous ranked probability score in units of the traces, lower is better (the estimator whose
        mean does not depend on the number of samples); `coverage 50` and `coverage 90`, the share of true values
        within the central 50 and 90 % of the samples.
    """
    scores = {"crps": float(crps_ensemble(true, samples, m_axis=0, estimator="pwm").mean())}
    for percent in BANDS:
        low, high = central_band(samples, percent)
        scores[f"coverage {percent}"] = float(((low <= true) & (true <= high)).mean())
    return scores


def channel_scores(
    true: Float[np.ndarray, "frame behaviour"], predicted: Float[np.ndarray, "frame behaviour"]
) -> dict[str, Float[np.ndarray, " behaviour"]]:
    """Scores of decoded behaviour, channel by channel, over the frames on which the channel was recorded.

    On the frames of one trial this is how the paper's authors score decoding (Fig. 4). On all frames of several
    trials, joined, differences between trials count as explained too, so that R2 is mostly higher.

    Returns:
        `r2`, 1 - SSE / SST; `mse`, in squared units of the behaviour; `corr`, Pearson's, 0 where the prediction is
        constant. A channel that does not change on these frames has neither R2 nor correlation, and one that was not
        recorded there has no score at all: NaN.
    """
    scores = {name: np.full(true.shape[1], np.nan) for name in ("r2", "mse", "corr")}
    for channel in range(true.shape[1]):
        known = np.isfinite(true[:, channel])
        series, guess = (each[known, channel].astype(np.float64) for each in (true, predicted))
        if known.any():
            scores["mse"][channel] = np.square(series - guess).mean()
        if known.any() and np.ptp(series) > 0:
            scores["r2"][channel] = r2_score(series, guess)
            scores["corr"][channel] = pearson(series, guess)
    return scores


def correlation_over_time(
    true: Sequence[Float[np.ndarray, "neuron _horizon"]], predicted: Sequence[Float[np.ndarray, "neuron _horizon"]]
) -> Float[np.ndarray, " lag"]:
    """How a forecast fades: at every frame since the end of the context, Pearson over trials, mean over neurons.

    Trials may differ in length; a frame that fewer than `MIN_TRIALS` trials reach is NaN.
    """
    longest = max(trace.shape[1] for trace in true)
    scores = np.full(longest, np.nan)
    for lag in range(longest):
        reaching = [trial for trial, trace in enumerate(true) if trace.shape[1] > lag]
        if len(reaching) >= MIN_TRIALS:
            at_lag = [np.stack([traces[trial][:, lag] for trial in reaching], axis=1) for traces in (true, predicted)]
            scores[lag] = pearson(*at_lag).mean()
    return scores
