"""What scheduled sampling does to the gap between training and test trials, from true tokens and from its own ones."""

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from calm.baselines.validation import compared_trials, forecast_futures
from calm.config.fitting import ForecastConfig
from calm.data.session import SPLITS, Session, cut_trials
from calm.metrics import correlation_over_time, trial_correlation
from calm.models.quantizer import NeuralQuantizer
from calm.models.rollout import Choice, roll_out
from calm.models.transformer import DualAxisTransformer, TokenBatch
from calm.paper.results import Results
from calm.recordings import Recordings
from calm.training.forecasting import CalMForecaster

LOSSES = ("cross-entropy from true tokens", "cross-entropy from its own")  # metrics, nats a token
CHOICES: tuple[Choice, ...] = ("greedy", "expected")  # of what is fed back when traces are forecast


def gap_trials(session: Session, split: str, config: ForecastConfig) -> Int[np.ndarray, " trial"]:
    """Trials of a split that reach the end of the horizon, no more than there are such test trials.

    Many training trials are thinned out evenly, so that scores over trials can be compared.
    """
    trials = compared_trials(session, split, config)
    most = len(compared_trials(session, "test", config))
    return trials[np.linspace(0, len(trials) - 1, min(most, len(trials))).astype(int)]


@torch.no_grad()
def token_losses(
    model: DualAxisTransformer, batch: TokenBatch, steps: int
) -> tuple[Float[Tensor, "batch step"], Float[Tensor, "batch step"]]:
    """Cross-entropy of each of the last `steps` tokens in nats, mean over neurons (Eq. 11).

    Returns:
        Given all true tokens before it; and given the true ones before the first of them, then the model's own
        likeliest ones, which are what scheduled sampling feeds back.
    """
    known = batch.tokens.shape[-1] - steps
    context = dataclasses.replace(batch, tokens=batch.tokens[..., :known])
    after_true = model(batch)[known - 1 : -1].log_softmax(-1).permute(1, 2, 0, 3)
    probabilities = roll_out(model, context, steps=steps).predicted[0]
    after_predicted = probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
    targets = batch.tokens[..., known:, None]
    true, predicted = (-each.gather(-1, targets)[..., 0].mean(dim=1) for each in (after_true, after_predicted))
    return true, predicted


def session_losses(
    model: DualAxisTransformer,
    quantizer: NeuralQuantizer,
    session: Session,
    trials: Int[np.ndarray, " trial"],
    config: ForecastConfig,
) -> tuple[Float[np.ndarray, "trial step"], Float[np.ndarray, "trial step"]]:
    """`token_losses` of the tokens of the horizon, in some trials of a session that reach its end."""
    window, device = quantizer.config.window, quantizer.codebook.vectors.device
    _, futures = cut_trials(session, trials, config.context, config.horizon)
    steps = min(future.shape[1] for future in futures) // window
    frames, size = config.context + steps * window, max(1, config.rows // len(session.neurons))
    losses = []
    for start in range(0, len(trials), size):
        traces = [torch.from_numpy(session.traces[trial][:, :frames]) for trial in trials[start : start + size]]
        tokens = torch.stack([quantizer.encode_codes(trace.to(device)) for trace in traces])
        batch = TokenBatch(session.name, torch.arange(tokens.shape[1], device=device), tokens)
        losses.append(token_losses(model, batch, steps))
    true, predicted = (torch.cat(batches).cpu().numpy() for batches in zip(*losses, strict=True))
    return true, predicted


def score_gap(
    results: Results,
    models: Mapping[str, DualAxisTransformer],
    quantizer: NeuralQuantizer,
    recordings: Recordings,
    *,
    item: str,
) -> None:
    """Add losses and forecast correlations of models on training, validation and test trials of the held-in sessions.

    They are means over trials and over the horizon; and, in `<item>_horizon`, means over trials at each time since the
    end of the context.

    `models` are by the variant that their rows get, all trained on the tokens of one quantizer.
    """
    config = recordings.profile.forecast
    for session, split in itertools.product(recordings.held_in, SPLITS):
        trials = gap_trials(session, split, config)
        where = {"n": len(trials), "split": split, "session": session.name, "method": "CalM"}
        for variant, model in models.items():
            for metric, (mean, course, spacing) in split_scores(model, quantizer, session, trials, config).items():
                results.add(metric, mean, item=item, variant=variant, **where)
                # The clocks of sessions differ by less than can be seen, but would never meet at one time.
                seconds = (spacing * np.arange(1, len(course) + 1)).round(3)
                results.add_each(metric, course, item=f"{item}_horizon", variant=variant, seconds=seconds, **where)


def split_scores(
    model: DualAxisTransformer,
    quantizer: NeuralQuantizer,
    session: Session,
    trials: Int[np.ndarray, " trial"],
    config: ForecastConfig,
) -> dict[str, tuple[float, Float[np.ndarray, " lag"], float]]:
    """For each metric: its mean, its course over the horizon, and the seconds from one point of that to the next.

    The mean of a correlation is over frames of a trial, its course over trials at a frame (`calm.metrics`).
    """
    scores, window = {}, quantizer.config.window
    for metric, losses in zip(LOSSES, session_losses(model, quantizer, session, trials, config), strict=True):
        scores[metric] = float(losses.mean()), losses.mean(axis=0), window / session.rate
    for choice in CHOICES:
        forecaster = CalMForecaster(model, quantizer, session.name, config, choice=choice)
        traces = forecast_futures(forecaster, session, trials, config)
        correlation = float(np.mean(list(map(trial_correlation, *traces))))
        scores[f"corr, {choice}"] = correlation, correlation_over_time(*traces), 1 / session.rate
    return scores
