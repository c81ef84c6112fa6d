"""Naive and linear forecasters: what any model has to beat, and what a sceptic asks for first (App. B)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from calm.baselines.ridge import lagged, normal_equations, solve_ridge
from calm.baselines.validation import validation_correlation
from calm.config.fitting import ForecastConfig
from calm.config.rivals import VARConfig
from calm.data.session import Session
from calm.errors import CalmError
from calm.models.interfaces import BOUND, Forecaster

LARGEST_VAR = 1000  # neurons; a linear model of more takes longer to fit than CalM
SEED = 0  # of sampled innovations


class TrialForecaster:
    """A forecaster that takes one trial at a time.

    Attributes:
        parameters: how many numbers were fitted.
    """

    parameters: int = 0

    def forecast(
        self, contexts: Sequence[Float[np.ndarray, "neuron _context"]], horizons: Sequence[int]
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """Predict the next `horizon` frames of every trial from its first frames, in z-scores."""
        return [self.forecast_trial(*trial) for trial in zip(contexts, horizons, strict=True)]

    def forecast_trial(
        self, context: Float[np.ndarray, "neuron context"], horizon: int
    ) -> Float[np.ndarray, "neuron horizon"]:
        """The forecast of one trial."""
        raise NotImplementedError


class Persistence(TrialForecaster):
    """The last frame of the context, held; its correlation is 0 by definition, its squared error is not."""

    def fit(self, session: Session) -> "Persistence":
        """Nothing to learn."""
        return self

    def forecast_trial(
        self, context: Float[np.ndarray, "neuron context"], horizon: int
    ) -> Float[np.ndarray, "neuron horizon"]:
        """Repeat the last known frame."""
        return np.repeat(context[:, -1:], horizon, axis=1)


class Decay(TrialForecaster):
    """Each neuron decays exponentially to its training mean, at the rate of a first-order autoregression.

    Attributes:
        mean: training mean per neuron, in z-scores.
        coefficient: least-squares lag-1 coefficient per neuron, kept within 0 and 1 so that it is a decay.
    """

    mean: Float[np.ndarray, " neuron"]
    coefficient: Float[np.ndarray, " neuron"]

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
        self.parameters = self.mean.size + self.coefficient.size
        return self

    def forecast_trial(
        self, context: Float[np.ndarray, "neuron context"], horizon: int
    ) -> Float[np.ndarray, "neuron horizon"]:
        """mean + coefficient^h (last frame - mean), for h = 1, 2, ..."""
        mean, rate = self.mean[:, None], self.coefficient[:, None]
        return mean + rate ** np.arange(1, horizon + 1) * (context[:, -1:] - mean)


class MeanTrial(TrialForecaster):
    """The mean training trace at the same frame since trial start: what the task alone predicts.

    Attributes:
        mean: over the training trials that reach each frame.
    """

    mean: Float[np.ndarray, "neuron frame"]

    def fit(self, session: Session) -> "MeanTrial":
        """Average the training trials frame by frame."""
        traces = [session.traces[trial] for trial in session.trials_of("train")]
        total = np.zeros((len(session.neurons), max(trace.shape[1] for trace in traces)))
        count = np.zeros(total.shape[1])
        for trace in traces:
            total[:, : trace.shape[1]] += trace
            count[: trace.shape[1]] += 1
        self.mean = total / count
        self.parameters = self.mean.size
        return self

    def forecast_trial(
        self, context: Float[np.ndarray, "neuron context"], horizon: int
    ) -> Float[np.ndarray, "neuron horizon"]:
        """Read the mean trial off; beyond the longest training trial its last frame is held."""
        frames = context.shape[1] + np.arange(horizon)
        return self.mean[:, np.minimum(frames, self.mean.shape[1] - 1)]


class RidgeVAR:
    """Vector autoregression over all neurons, x_t = sum_k A_k x_{t-k} + b, with a ridge penalty on A (App. B).

    Attributes:
        order: number of frames it looks back, chosen on the validation trials.
        penalty: ridge penalty, chosen on the validation trials.
        coefficients: rows are (lag, neuron), newest lag first, then the intercept.
        innovations: covariance of what one frame differs by from its prediction on validation trials, which were not
            fitted.
        parameters: how many numbers were fitted.
        samples: rollouts that `sample` draws, unless it is told how many.
        validation: rolled-out correlation of every (order, penalty) tried.
    """

    order: int
    penalty: float
    coefficients: Float[np.ndarray, "regressor neuron"]
    innovations: Float[np.ndarray, "neuron other"]
    parameters: int
    validation: dict[tuple[int, float], float]

    def __init__(self, config: VARConfig, forecast: ForecastConfig):
        """Take the search space, and what will be known and asked for when it is used.

        Raises:
            CalmError: the context is shorter than every order.
        """
        self.penalties = config.penalties
        self.orders = tuple(order for order in config.orders if order <= forecast.context)
        self.config, self.samples = forecast, forecast.samples
        if not self.orders:
            raise CalmError(
                f"A context of {forecast.context} frames is too short for autoregressions of order {config.orders}."
            )

    def fit(self, session: Session) -> "RidgeVAR":
        """Fit every order and penalty on the training trials, keep the best rolled-out validation correlation."""
        train, tried = [session.traces[trial] for trial in session.trials_of("train")], {}
        for order in self.orders:
            equations = normal_equations((lagged(trace, order), trace[:, order:].T) for trace in train)
            tried |= {(order, penalty): solve_ridge(*equations, penalty) for penalty in self.penalties}
        self.validation = {}
        for (self.order, self.penalty), self.coefficients in tried.items():
            self.validation[self.order, self.penalty] = validation_correlation(self, session, self.config)
        self.order, self.penalty = max(self.validation, key=self.validation.get)
        self.coefficients = tried[self.order, self.penalty]
        self.parameters = self.coefficients.size
        known = [session.traces[trial] for trial in session.trials_of("val")]
        residuals = [trace[:, self.order :].T - lagged(trace, self.order) @ self.coefficients for trace in known]
        self.innovations = np.cov(np.concatenate(residuals), rowvar=False)
        return self

    def forecast(
        self, contexts: Sequence[Float[np.ndarray, "neuron _context"]], horizons: Sequence[int]
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """Roll all trials out together to the longest horizon, then cut each to its own."""
        past = self.past(contexts)
        frames = roll_out(self.coefficients, past, np.zeros((max(horizons), *past.shape[1:])))
        return [frames[:horizon, trial].T for trial, horizon in enumerate(horizons)]

    def sample(
        self,
        contexts: Sequence[Float[np.ndarray, "neuron _context"]],
        horizons: Sequence[int],
        samples: int | None = None,
    ) -> list[Float[np.ndarray, "sample neuron _horizon"]]:
        """Rollouts of each trial with Gaussian innovations, which feed back as the forecasts do."""
        past = np.tile(self.past(contexts), (1, samples or self.samples, 1))
        rng, (_, rollouts, neurons) = np.random.default_rng(SEED), past.shape
        noise = rng.multivariate_normal(np.zeros(neurons), self.innovations, (max(horizons), rollouts))
        frames = roll_out(self.coefficients, past, noise)
        return [frames[:horizon, trial :: len(contexts)].transpose(1, 2, 0) for trial, horizon in enumerate(horizons)]

    def past(self, contexts: Sequence[Float[np.ndarray, "neuron _context"]]) -> Float[np.ndarray, "order trial neuron"]:
        """The frames that the first step looks back on, oldest first."""
        return np.stack([context[:, -self.order :].T.astype(np.float64) for context in contexts], axis=1)


def roll_out(
    coefficients: Float[np.ndarray, "regressor neuron"],
    past: Float[np.ndarray, "order trial neuron"],
    noise: Float[np.ndarray, "horizon trial neuron"],
) -> Float[np.ndarray, "horizon trial neuron"]:
    """Feed an autoregression its own predictions, and what is added to each of them."""
    (order, _, neurons), horizon = past.shape, len(noise)
    frames = np.concatenate([past, np.empty_like(noise)])
    weights, intercept = coefficients[:-1].reshape(order, neurons, neurons), coefficients[-1]
    for step in range(horizon):
        recent = frames[step : step + order][::-1]
        drive = np.einsum("oti,oij->tj", recent, weights, optimize=True)
        frames[step + order] = np.clip(drive + intercept + noise[step], -BOUND, BOUND)
    return frames[order:]


def linear_forecasters(session: Session, var: VARConfig, forecast: ForecastConfig) -> dict[str, Forecaster]:
    """What any forecaster should beat, fitted to a session: `decay` to the mean, and `ridge VAR`, a linear model.

    The latter only of up to LARGEST_VAR neurons.
    """
    methods: dict[str, Forecaster] = {"decay": Decay().fit(session)}
    if len(session.neurons) <= LARGEST_VAR:
        methods["ridge VAR"] = RidgeVAR(var, forecast).fit(session)
    return methods


def linear_scores(session: Session, var: VARConfig, forecast: ForecastConfig) -> dict[str, float]:
    """Mean forecast correlation of each of them on validation trials."""
    methods = linear_forecasters(session, var, forecast)
    return {name: validation_correlation(each, session, forecast) for name, each in methods.items()}
