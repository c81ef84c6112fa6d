"""The transformer trained on traces, not tokens: through its own rollouts and the frozen decoder of the quantizer.

Not in the paper, whose Discussion names it as a next step. The loss is that of reconstructions (Eq. 4), of forecasts.
"""

import copy
import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from calm.config.models import DATConfig
from calm.models.interfaces import TraceBatch
from calm.models.quantizer import NeuralQuantizer, pearson
from calm.models.rollout import forecast_traces
from calm.models.transformer import DualAxisTransformer


class TraceTransformer(DualAxisTransformer):
    """A transformer that learns from the traces that its rollouts decode to; weight for weight a `DualAxisTransformer`.

    Args:
        config: sizes.
        quantizer: whose tokens it predicts; stays as it is, and is not kept with this model's weights.
        sessions: number of neurons of each session.
        horizon: frames that are forecast in training, at most.
    """

    begins_trained = True

    def __init__(self, config: DATConfig, quantizer: NeuralQuantizer, sessions: Mapping[str, int], horizon: int):
        super().__init__(config, quantizer.codebook.vectors.detach().cpu(), sessions)
        self.horizon = horizon
        self.frozen = (quantizer,)  # in a tuple torch does not take it for a part of this model

    @classmethod
    def of(
        cls, trained: DualAxisTransformer, quantizer: NeuralQuantizer, sessions: Mapping[str, int], horizon: int
    ) -> "TraceTransformer":
        """A copy of a transformer that learns from traces and knows, of its sessions, the ones named here only."""
        model = cls(trained.config, copy.deepcopy(quantizer).requires_grad_(False), sessions, horizon)
        known = trained.state_dict()
        state = {name: value for name, value in known.items() if not name.startswith(model.session_parameters)}
        model.load_state_dict(state | trained.state_of(model.index))
        return model

    def training_loss(self, batch: TraceBatch) -> dict[str, Float[Tensor, ""]]:
        """MSE + (1 - r) of a forecast, r of each neuron over its frames; all codes are fed back, weighted."""
        context, horizon = self.cut(batch.traces.shape[-1])
        known = dataclasses.replace(batch, traces=batch.traces[..., :context])
        future = batch.traces[..., context : context + horizon].flatten(0, 1)
        predicted = forecast_traces(self, *self.frozen, known, horizon, choice="expected")[0].flatten(0, 1)
        terms = {"mse": F.mse_loss(predicted, future), "pearson": 1 - pearson(predicted, future).mean()}
        return {"loss": terms["mse"] + terms["pearson"], **terms}

    def cut(self, frames: int) -> tuple[int, int]:
        """Frames of a context of random length, whole tokens, so that no length is favoured; and of the forecast."""
        window = self.frozen[0].config.window
        horizon = min(self.horizon, frames - window)
        return window * int(torch.randint(1, (frames - horizon) // window + 1, ())), horizon

    def count_predictions(self, batch: TraceBatch) -> int:
        """Number of frames, over all neurons and trials."""
        return batch.traces.numel()
