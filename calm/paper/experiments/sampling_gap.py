"""What scheduled sampling does to the gap between training and test trials: tokens predicted from true or own ones."""

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from calm.baselines.validation import compared_trials
from calm.config import ForecastConfig
from calm.data.session import SPLITS, Session, cut_trials
from calm.metrics import correlation_over_time, trial_correlation
from calm.models.quantizer import NeuralQuantizer
from calm.models.rollout import Choice, roll_out
from calm.models.transformer import DualAxisTransformer, TokenBatch
from calm.paper.experiments.ablations import SAMPLING_OFF
from calm.paper.results import LagRow, Row
from calm.profile import Profile
from calm.recordings import Recordings
from calm.training.forecasting import CalMForecaster

LOSSES = ("cross-entropy from true tokens", "cross-entropy from its own")  # metrics, nats a token
CHOICES: tuple[Choice, ...] = ("greedy", "expected")  # of what is fed back when traces are forecast


def without_sampling(profile: Profile, learning_rate: float) -> Profile:
    """The profile with this learning rate in stage 2 and without scheduled sampling, whichever form the loss has."""
    dat = profile.dat.model_copy(update=SAMPLING_OFF)
    fit = profile.dat_fit.model_copy(update={"learning_rate": learning_rate})
    return profile.model_copy(update={"dat": dat, "dat_fit": fit})


def gap_trials(session: Session, split: str, config: ForecastConfig) -> Int[np.ndarray, " part"]:
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
    from_true = model(batch)[known - 1 : -1].log_softmax(-1).permute(1, 2, 0, 3)
    from_own = roll_out(model, context, steps=steps).predicted[0]
    targets = batch.tokens[..., known:, None]
    true, own = (
        -scores.gather(-1, targets).squeeze(-1).mean(dim=1)
        for scores in (from_true, from_own.clamp_min(torch.finfo(from_own.dtype).tiny).log())
    )
    return true, own


def session_losses(
    model: DualAxisTransformer,
    quantizer: NeuralQuantizer,
    session: Session,
    trials: Int[np.ndarray, " part"],
    config: ForecastConfig,
) -> tuple[Float[np.ndarray, "part step"], Float[np.ndarray, "part step"]]:
    """`token_losses` of the tokens of the horizon, in some trials of a session that reach its end."""
    window, device = quantizer.config.window, quantizer.codebook.vectors.device
    _, futures = cut_trials(session, trials, config.context, config.horizon)
    steps = min(future.shape[1] for future in futures) // window
    frames, size = config.context + steps * window, max(1, config.rows // len(session.neurons))
    parts = []
    for start in range(0, len(trials), size):
        traces = [torch.from_numpy(session.traces[trial][:, :frames]) for trial in trials[start : start + size]]
        tokens = torch.stack([quantizer.encode_codes(trace.to(device)) for trace in traces])
        batch = TokenBatch(session.name, torch.arange(tokens.shape[1], device=device), tokens)
        parts.append(token_losses(model, batch, steps))
    true, own = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return true, own


def gap_rows(
    models: Mapping[str, DualAxisTransformer],
    quantizer: NeuralQuantizer,
    recordings: Recordings,
    *,
    item: str,
    seed: int,
) -> tuple[list[Row], list[LagRow]]:
    """Losses and forecast correlations of models on training, validation and test trials of the held-in sessions.

    Args:
        models: by the variant that their rows get.
        quantizer: whose tokens they were trained on.
        recordings: the sessions that they know.
        item: of the rows; that of the rows with a time has `_horizon` behind it.
        seed: of the run.

    Returns:
        Means over trials and over the horizon; and means over trials at each time since the end of the context.
    """
    rows, lag_rows = [], []
    for session, split in itertools.product(recordings.held_in, SPLITS):
        trials = gap_trials(session, split, recordings.profile.forecast)
        shared = {"dataset": recordings.name, "split": split, "session": session.name, "method": "CalM", "seed": seed}
        shared["n"] = len(trials)
        for variant, model in models.items():
            scores = split_scores(model, quantizer, session, trials, recordings.profile.forecast)
            for metric, (value, course, spacing) in scores.items():
                names = {"variant": variant, "metric": metric, **shared}
                rows.append(Row(item=item, value=value, **names))
                # The clocks of sessions differ by less than can be seen, but would never meet at one time.
                lag_rows += [
                    LagRow(item=f"{item}_horizon", value=float(at_lag), seconds=round((lag + 1) * spacing, 3), **names)
                    for lag, at_lag in enumerate(course)
                ]
    return rows, lag_rows


def split_scores(
    model: DualAxisTransformer,
    quantizer: NeuralQuantizer,
    session: Session,
    trials: Int[np.ndarray, " part"],
    config: ForecastConfig,
) -> dict[str, tuple[float, Float[np.ndarray, " lag"], float]]:
    """For each metric: its mean, its course over the horizon, and the seconds from one point of that to the next.

    The mean of a correlation is over frames of a trial, its course over trials at a frame (`calm.metrics`).
    """
    scores, window = {}, quantizer.config.window
    for metric, losses in zip(LOSSES, session_losses(model, quantizer, session, trials, config), strict=True):
        scores[metric] = float(losses.mean()), losses.mean(axis=0), window / session.rate
    contexts, futures = cut_trials(session, trials, config.context, config.horizon)
    for choice in CHOICES:
        forecaster = CalMForecaster(model, quantizer, session.name, config, choice=choice)
        forecasts = forecaster.forecast(contexts, [future.shape[1] for future in futures])
        mean = np.mean([trial_correlation(*pair) for pair in zip(futures, forecasts, strict=True)])
        scores[f"corr, {choice}"] = float(mean), correlation_over_time(futures, forecasts), 1 / session.rate
    return scores
