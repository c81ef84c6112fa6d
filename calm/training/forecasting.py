"""Trained models as forecasters of a session: CalM, by rollouts of tokens (Sec. 3.3, Fig. 3A), and the rivals."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from calm.config.fitting import ForecastConfig
from calm.models.interfaces import Network, TraceBatch
from calm.models.quantizer import NeuralQuantizer
from calm.models.rollout import Choice, forecast_traces
from calm.models.transformer import DualAxisTransformer
from calm.seeding import seeded
from calm.training.batches import group_trials


@dataclasses.dataclass(frozen=True, eq=False)
class CalMForecaster:
    """CalM as a forecaster of one session, behind the interface of the baselines.

    Attributes:
        model: trained transformer that knows the session.
        quantizer: whose tokens it was trained on.
        session: name of the session.
        config: how much is computed at once.
        choice: what is fed back after each token.
        samples: rollouts whose mean is the forecast; only the choice `sample` needs more than one.
        seed: of the sampling.
    """

    model: DualAxisTransformer
    quantizer: NeuralQuantizer
    session: str
    config: ForecastConfig
    choice: Choice = "sample"
    samples: int = 1
    seed: int = 0

    def forecast(
        self, contexts: Sequence[Float[np.ndarray, "neuron _context"]], horizons: Sequence[int]
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """Mean of the rollouts of each trial, in z-scores; contexts are all of one length, whole tokens.

        Where samples are averaged, each step is decoded from its predicted distribution rather than from the token
        drawn from it: nearly the same mean (the decoder is not linear) with less noise.

        Raises:
            CalmError: contexts that end within a token.
        """
        averaged = self.choice == "sample" and self.samples > 1
        return [samples.mean(axis=0) for samples in self.sample(contexts, horizons, expect=averaged)]

    def sample(
        self,
        contexts: Sequence[Float[np.ndarray, "neuron _context"]],
        horizons: Sequence[int],
        samples: int | None = None,
        *,
        expect: bool = False,
    ) -> list[Float[np.ndarray, "sample neuron _horizon"]]:
        """The rollouts of each trial one by one, in z-scores; contexts are all of one length, whole tokens.

        They are what the decoder makes of sampled tokens. It gives the mean of the frames that a token stands for, so
        that what frames differ by within a token is missing from their spread. `expect`: see `rollouts`.

        Raises:
            CalmError: contexts that end within a token.
        """
        neurons, samples = len(contexts[0]), samples or self.samples
        at_once = min(samples, max(1, self.config.rows // neurons))
        parts = [min(at_once, samples - done) for done in range(0, samples, at_once)]
        sampled: dict[int, Float[np.ndarray, "sample neuron _horizon"]] = {}
        with seeded(self.seed):
            size = max(1, self.config.rows // (at_once * neurons))
            for group in group_trials(np.array(horizons), np.arange(len(contexts)), size):
                batch, horizon = np.stack([contexts[trial] for trial in group]), int(horizons[group[0]])
                rollouts = [self.rollouts(batch, horizon, samples=part, expect=expect) for part in parts]
                sampled |= dict(zip(group.tolist(), np.concatenate(rollouts).swapaxes(0, 1), strict=True))
        return [sampled[trial] for trial in range(len(contexts))]

    @torch.no_grad()
    def rollouts(
        self, contexts: Float[np.ndarray, "batch neuron context"], horizon: int, *, samples: int, expect: bool = False
    ) -> Float[np.ndarray, "samples batch neuron horizon"]:
        """Each rollout as a trace; see `calm.models.rollout.forecast_traces`.

        Raises:
            CalmError: contexts that end within a token.
        """
        traces = torch.from_numpy(contexts).to(self.quantizer.codebook.vectors.device)
        context = TraceBatch(self.session, torch.arange(traces.shape[1], device=traces.device), traces)
        how = {"choice": self.choice, "samples": samples, "expect": expect}
        return forecast_traces(self.model, self.quantizer, context, horizon, **how).cpu().numpy()


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkForecaster:
    """A trained network as a forecaster of one session.

    Attributes:
        network: that knows the session.
        session: its name.
        config: how much is computed at once.
    """

    network: Network
    session: str
    config: ForecastConfig

    @torch.no_grad()
    def forecast(
        self, contexts: Sequence[Float[np.ndarray, "neuron _context"]], horizons: Sequence[int]
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """Forecast each trial, those with the same horizon together; contexts are all of one length."""
        device = next(self.network.parameters()).device
        forecasts: dict[int, Float[np.ndarray, "neuron _horizon"]] = {}
        size = max(1, self.config.rows // len(contexts[0]))
        for group in group_trials(np.array(horizons), np.arange(len(contexts)), size):
            batch = torch.from_numpy(np.stack([contexts[trial] for trial in group])).to(device)
            predicted = self.network.forecast(self.session, batch, int(horizons[group[0]])).cpu().numpy()
            forecasts |= dict(zip(group.tolist(), predicted, strict=True))
        return [forecasts[trial] for trial in range(len(contexts))]
