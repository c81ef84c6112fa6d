"""Beyond the mean: how well methods know how uncertain their forecasts are, those of Figure 3."""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float, Int

from calm.baselines.validation import compared_trials
from calm.config.fitting import ForecastConfig
from calm.data.session import Session, cut_trials
from calm.metrics import distribution_scores
from calm.models.interfaces import Forecaster, Sampler
from calm.models.quantizer import NeuralQuantizer
from calm.paper.experiments.forecasting import Forecasts
from calm.paper.experiments.methods import Method, MethodSet
from calm.paper.results import RESIDUALS, Results
from calm.training.forecasting import CalMForecaster
from calm.training.reconstruction import reconstruct

SAMPLED, DECODED = "sampled", "sampled, decoding noise"  # kinds of distribution, beside RESIDUALS
DRAWN = 20  # futures of a trial that are judged, at most: 19 are enough for a band of 90 %, more only cost time
TINY = 1e-12  # z-scores: a neuron without residuals has no noise, either
Samples = list[Float[np.ndarray, "sample neuron _horizon"]]  # of each trial


def score_distributions(
    results: Results,
    trained: MethodSet[Forecaster],
    forecasts: Mapping[str, Mapping[Method, Forecasts]],
    session: Session,
    config: ForecastConfig,
    *,
    item: str,
    group: str = "",
) -> None:
    """Add CRPS and coverage on test trials (`<item>_distribution`): of samplers, and of forecasts with residuals.

    `forecasts` are those of the compared validation and test trials.
    """
    trials = compared_trials(session, "test", config)
    _, futures = cut_trials(session, trials, config.context, config.horizon)
    where = {"split": "test", "group": group, "session": session.name, "n": len(trials)}
    rng = np.random.default_rng(results.seed)
    for (method, variant), samples in (
        *sampled(trained, session, trials, config, rng),
        *around_forecasts(forecasts, session, config, rng),
    ):
        scores = [distribution_scores(*pair) for pair in zip(futures, samples, strict=True)]
        for metric in scores[0]:
            value = np.mean([score[metric] for score in scores])
            results.add(metric, value, item=f"{item}_distribution", method=method, variant=variant, **where)


def sampled(
    trained: MethodSet[Forecaster],
    session: Session,
    trials: Int[np.ndarray, " trial"],
    config: ForecastConfig,
    rng: np.random.Generator,
) -> Iterator[tuple[Method, Samples]]:
    """What the methods that can draw futures draw; CalM also with what its decoder leaves out."""
    contexts, futures = cut_trials(session, trials, config.context, config.horizon)
    for (name, _), method in trained.methods.items():
        if isinstance(method, Sampler) and method.samples > 1:
            samples = method.sample(contexts, [each.shape[1] for each in futures], min(method.samples, DRAWN))
            yield (name, SAMPLED), samples
            if isinstance(method, CalMForecaster):
                yield (name, DECODED), add_decoding_noise(samples, method.quantizer, session, rng)


def add_decoding_noise(
    samples: Samples, quantizer: NeuralQuantizer, session: Session, rng: np.random.Generator
) -> Samples:
    """Samples of decoded tokens with errors of reconstruction, each of all neurons on any frame of validation trials.

    The decoder is trained on the squared error, so that it gives the mean of the frames that a token stands for; the
    errors that it makes on validation trials are what they differ from it by.
    """
    trials = session.trials_of("val")
    decoded, _ = reconstruct(quantizer, session, trials)
    pairs = zip(trials, decoded, strict=True)
    errors = np.concatenate([session.traces[trial][:, : each.shape[1]] - each for trial, each in pairs], axis=1)
    drawn = [rng.integers(errors.shape[1], size=(each.shape[0], each.shape[2])) for each in samples]
    return [each + errors[:, frames].swapaxes(0, 1) for each, frames in zip(samples, drawn, strict=True)]


def around_forecasts(
    forecasts: Mapping[str, Mapping[Method, Forecasts]],
    session: Session,
    config: ForecastConfig,
    rng: np.random.Generator,
) -> Iterator[tuple[Method, Samples]]:
    """Every method's test forecasts with the residuals that it left on validation trials."""
    _, known = cut_trials(session, compared_trials(session, "val", config), config.context, config.horizon)
    for (name, variant), predicted in forecasts["test"].items():
        residuals = np.stack(known) - np.stack(forecasts["val"][name, variant])
        kind = ", ".join(filter(None, (variant, RESIDUALS)))
        yield (name, kind), [each + draw_residuals(residuals, min(config.samples, DRAWN), rng) for each in predicted]


def draw_residuals(
    residuals: Float[np.ndarray, "trial neuron horizon"], samples: int, rng: np.random.Generator
) -> Float[np.ndarray, "sample neuron horizon"]:
    """Draw from the residuals of some trials at the same time since the end of the context, each neuron by itself.

    Trials are few: the residuals of all neurons are pooled, in units of each neuron's root mean square.
    """
    _, neurons, horizon = residuals.shape
    scale = np.sqrt(np.square(residuals).mean(axis=(0, 2)))[:, None] + TINY
    pool = (residuals / scale).reshape(-1, horizon)
    return scale * pool[rng.integers(len(pool), size=(samples, neurons, horizon)), np.arange(horizon)]
