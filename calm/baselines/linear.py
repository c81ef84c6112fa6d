"""Naive and linear forecasters: what any model has to beat, and what a sceptic asks for first (App. B)."""

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float

from calm.baselines.validation import validation_correlation
from calm.config import ForecastConfig, VARConfig
from calm.data.session import Session
from calm.errors import CalmError
from calm.models.interfaces import BOUND


class Persistence:
    """The last frame of the context, held."""

    parameters = 0

    def fit(self, session: Session) -> "Persistence":
        """Nothing to learn."""
        return self

    def forecast(
        self, contexts: Sequence[Float[np.ndarray, "neuron _context"]], horizons: Sequence[int]
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """Repeat each trial's last known frame; its correlation is 0 by definition, its squared error is not."""
        return [
            np.repeat(context[:, -1:], horizon, axis=1) for context, horizon in zip(contexts, horizons, strict=True)
        ]


class Decay:
    """Each neuron decays exponentially to its training mean, at the rate of a first-order autoregression.

    Attributes:
        mean: training mean per neuron, in z-scores.
        coefficient: least-squares lag-1 coefficient per neuron, kept within 0 and 1 so that it is a decay.
    """

    mean: Float[np.ndarray, " neuron"]
    coefficient: Float[np.ndarray, " neuron"]

    @property
    def parameters(self) -> int:
        """Numbers that were fitted."""
        return self.mean.size + self.coefficient.size

    def fit(self, session: Session) -> "Decay":
        """Regress each training frame on the one before it in the same trial."""
        traces = [session.traces[trial] for trial in session.trials_of("train")]
        self.mean = np.concatenate(traces, axis=1).mean(axis=1, dtype=np.float64)
        centred = [trace - self.mean[:, None] for trace in traces]
        past = np.concatenate([trace[:, :-1] for trace in centred], axis=1)
        present = np.concatenate([trace[:, 1:] for trace in centred], axis=1)
        variance = np.square(past).sum(axis=1)
        # A neuron that is silent throughout the training trials has nothing to regress on: it stays at its mean.
        slope = np.divide((past * present).sum(axis=1), variance, out=np.zeros_like(variance), where=variance > 0)
        self.coefficient = np.clip(slope, 0.0, 1.0)
        return self

    def forecast(
        self, contexts: Sequence[Float[np.ndarray, "neuron _context"]], horizons: Sequence[int]
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """mean + coefficient^h (last frame - mean), for h = 1, 2, ..."""
        mean, rate = self.mean[:, None], self.coefficient[:, None]
        return [
            mean + rate ** np.arange(1, horizon + 1) * (context[:, -1:] - mean)
            for context, horizon in zip(contexts, horizons, strict=True)
        ]


class MeanTrial:
    """The mean training trace at the same frame since trial start: what the task alone predicts.

    Attributes:
        mean: over the training trials that reach each frame.
    """

    mean: Float[np.ndarray, "neuron frame"]

    @property
    def parameters(self) -> int:
        """Numbers that were fitted."""
        return self.mean.size

    def fit(self, session: Session) -> "MeanTrial":
        """Average the training trials frame by frame."""
        traces = [session.traces[trial] for trial in session.trials_of("train")]
        total = np.zeros((len(session.neurons), max(trace.shape[1] for trace in traces)))
        count = np.zeros(total.shape[1])
        for trace in traces:
            total[:, : trace.shape[1]] += trace
            count[: trace.shape[1]] += 1
        self.mean = total / count
        return self

    def forecast(
        self, contexts: Sequence[Float[np.ndarray, "neuron _context"]], horizons: Sequence[int]
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """Read the mean trial off; beyond the longest training trial its last frame is held."""
        last = self.mean.shape[1] - 1
        frames = [
            np.arange(context.shape[1], context.shape[1] + horizon)
            for context, horizon in zip(contexts, horizons, strict=True)
        ]
        return [self.mean[:, np.minimum(index, last)] for index in frames]


def lagged(trace: Float[np.ndarray, "neuron frame"], order: int) -> Float[np.ndarray, "target regressor"]:
    """Design matrix of an autoregression: the `order` frames before each target, newest first, then a 1."""
    windows = np.lib.stride_tricks.sliding_window_view(trace[:, :-1], order, axis=1)  # neuron, target, oldest first
    past = windows[:, :, ::-1].transpose(1, 2, 0).reshape(windows.shape[1], -1)
    return np.hstack([past, np.ones((len(past), 1))])


def normal_equations(
    traces: Sequence[Float[np.ndarray, "neuron _frame"]], order: int
) -> tuple[Float[np.ndarray, "regressor regressor"], Float[np.ndarray, "regressor neuron"]]:
    """Gram matrix and moments, summed over trials: no lag crosses a trial border, and memory does not grow."""
    neurons = traces[0].shape[0]
    gram = np.zeros((order * neurons + 1, order * neurons + 1))
    moments = np.zeros((order * neurons + 1, neurons))
    for trace in traces:
        design = lagged(trace.astype(np.float64), order)
        gram += design.T @ design
        moments += design.T @ trace[:, order:].T
    return gram, moments


def solve_ridge(
    gram: Float[np.ndarray, "regressor regressor"], moments: Float[np.ndarray, "regressor neuron"], penalty: float
) -> Float[np.ndarray, "regressor neuron"]:
    """Ridge coefficients; as in scikit-learn's `Ridge`, the intercept (last row) is not penalised."""
    penalised = gram.copy()
    penalised.flat[: -1 : len(gram) + 1] += penalty
    return scipy.linalg.solve(penalised, moments, assume_a="pos")


def roll_out(
    coefficients: Float[np.ndarray, "regressor neuron"], past: Float[np.ndarray, "order trial neuron"], horizon: int
) -> Float[np.ndarray, "horizon trial neuron"]:
    """Feed an autoregression its own predictions for `horizon` frames."""
    order, trials, neurons = past.shape
    frames = np.concatenate([past, np.empty((horizon, trials, neurons))])
    weights, intercept = coefficients[:-1].reshape(order, neurons, neurons), coefficients[-1]
    for step in range(horizon):
        recent = frames[step : step + order][::-1]
        drive = np.einsum("oti,oij->tj", recent, weights, optimize=True)
        frames[step + order] = np.clip(drive + intercept, -BOUND, BOUND)
    return frames[order:]


class RidgeVAR:
    """Vector autoregression over all neurons, x_t = sum_k A_k x_{t-k} + b, with a ridge penalty on A (App. B).

    Attributes:
        order: number of frames it looks back, chosen on the validation trials.
        penalty: ridge penalty, chosen on the validation trials.
        coefficients: rows are (lag, neuron), newest lag first, then the intercept.
        validation: rolled-out correlation of every (order, penalty) tried.
    """

    order: int
    penalty: float
    coefficients: Float[np.ndarray, "regressor neuron"]
    validation: dict[tuple[int, float], float]

    def __init__(self, config: VARConfig, forecast: ForecastConfig):
        """Take the search space, and what will be known and asked for when it is used.

        Raises:
            CalmError: the context is shorter than every order.
        """
        self.penalties = config.penalties
        self.orders = tuple(order for order in config.orders if order <= forecast.context)
        self.config = forecast
        if not self.orders:
            raise CalmError(
                f"A context of {forecast.context} frames is too short for autoregressions of order {config.orders}."
            )

    @property
    def parameters(self) -> int:
        """Numbers that were fitted."""
        return self.coefficients.size

    def fit(self, session: Session) -> "RidgeVAR":
        """Fit every order and penalty on the training trials, keep the best rolled-out validation correlation."""
        train = [session.traces[trial] for trial in session.trials_of("train")]
        self.validation, best, kept = {}, -np.inf, ()
        for order in self.orders:
            gram, moments = normal_equations(train, order)
            for penalty in self.penalties:
                self.order, self.penalty, self.coefficients = order, penalty, solve_ridge(gram, moments, penalty)
                score = validation_correlation(self, session, self.config)
                self.validation[order, penalty] = score
                if score > best:
                    best, kept = score, (order, penalty, self.coefficients)
        self.order, self.penalty, self.coefficients = kept
        return self

    def forecast(
        self, contexts: Sequence[Float[np.ndarray, "neuron _context"]], horizons: Sequence[int]
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """Roll out from the last `order` frames of each context."""
        return forecast_linear(self.coefficients, self.order, contexts, horizons)


def forecast_linear(
    coefficients: Float[np.ndarray, "regressor neuron"],
    order: int,
    contexts: Sequence[Float[np.ndarray, "neuron _context"]],
    horizons: Sequence[int],
) -> list[Float[np.ndarray, "neuron _horizon"]]:
    """Roll all trials out together to the longest horizon, then cut each to its own."""
    past = np.stack([context[:, -order:].T.astype(np.float64) for context in contexts], axis=1)
    frames = roll_out(coefficients, past, max(horizons))
    return [frames[:horizon, trial].T for trial, horizon in enumerate(horizons)]
