"""What a model has to do: be trained, forecast a session, or decode its behaviour; and what such networks share."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from calm.config.base import BlockConfig, Config

BOUND = 1e3  # z-scores: no sane rollout comes near, and one that diverges stays finite
EPSILON = 1e-5  # added to the variance of a context


class Trainable(nn.Module):
    """A model that `calm.training.fit` trains; by the gradient alone, unless it says otherwise.

    Attributes:
        config: its numbers.
        session_parameters: beginnings of the names of parameters that belong to sessions and their neurons.
        begins_trained: whether the weights that training begins with are already worth something.
    """

    config: Config
    session_parameters: ClassVar[tuple[str, ...]] = ()
    begins_trained: bool = False

    def training_loss(self, batch: Any) -> dict[str, Float[Tensor, ""]]:
        """Terms of the loss, their weighted sum under `loss`."""
        raise NotImplementedError

    def count_predictions(self, batch: Any) -> int:
        """How many predictions the loss of a batch is the mean of."""
        raise NotImplementedError

    def introduce(self, session: str, traces: Sequence[Float[np.ndarray, "neuron _frame"]]) -> None:
        """See a session's traces of each training trial before any training; most models take nothing from them."""

    def unintroduced(self) -> contextlib.AbstractContextManager[bool]:
        """For a while as if `introduce` had never been called; whether that is a difference."""
        return contextlib.nullcontext(False)

    def freeze(self) -> None:
        """Train nothing from now on but what belongs to sessions and their neurons (Sec. 3.2)."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(self.session_parameters))
        self.begins_trained = True  # a few trials may teach less of new neurons than the trunk knows of any

    def before_step(self, step: int, steps: int) -> None:
        """Change what depends on how far the training is; `step` counts from 0."""

    def after_step(self) -> None:
        """Update what is not trained by the gradient."""


@runtime_checkable
class Forecaster(Protocol):
    """What every forecaster of a session does."""

    def forecast(
        self, contexts: Sequence[Float[np.ndarray, "neuron _context"]], horizons: Sequence[int]
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """Predict the next `horizon` frames of every trial from its first frames, in z-scores."""


@runtime_checkable
class Sampler(Protocol):
    """What a forecaster that knows how uncertain it is does, too.

    Attributes:
        samples: how many futures it draws, unless it is told.
    """

    samples: int

    def sample(
        self,
        contexts: Sequence[Float[np.ndarray, "neuron _context"]],
        horizons: Sequence[int],
        samples: int | None = None,
    ) -> list[Float[np.ndarray, "sample neuron _horizon"]]:
        """Possible futures of every trial, drawn from what it predicts of its first frames, in z-scores."""


@runtime_checkable
class Decoder(Protocol):
    """What every decoder of a session's behaviour does."""

    def decode(
        self, traces: Sequence[Float[np.ndarray, "neuron _frame"]]
    ) -> list[Float[np.ndarray, "_frame behaviour"]]:
        """Behaviour on every frame of whole trials from their traces, both in z-scores."""


@dataclasses.dataclass  # not frozen: Fabric moves it to the device field by field
class WindowBatch:
    """Stretches of equal length out of trials of one session.

    Attributes:
        session: its name.
        traces: of all its neurons, in z-scores.
    """

    session: str
    traces: Float[Tensor, "batch neuron frame"]


@dataclasses.dataclass  # not frozen: Fabric moves it to the device field by field
class TraceBatch:
    """Traces of equal length of some neurons of a session.

    Attributes:
        session: its name.
        neurons: which neurons of the session the rows are.
        traces: in z-scores.
    """

    session: str
    neurons: Int[Tensor, " neuron"]
    traces: Float[Tensor, "batch neuron frame"]


@dataclasses.dataclass  # not frozen: Fabric moves it to the device field by field
class DecodingBatch:
    """Stretches of equal length out of trials of one session, with the behaviour on the same frames.

    Attributes:
        session: its name.
        traces: of all its neurons, in z-scores.
        behaviour: in z-scores; NaN where it was not recorded.
    """

    session: str
    traces: Float[Tensor, "batch neuron frame"]
    behaviour: Float[Tensor, "batch frame behaviour"]


class Network(Trainable):
    """A baseline that `fit` trains, by the gradient alone; its config, the frames given and what it trains on.

    Subclasses are made from their config, the context, and the number of neurons of each session.

    Args:
        config: sizes.
        context: frames given.
        window: frames of a stretch that it trains on, or None for whole trials.
    """

    def __init__(self, config: Config, context: int, window: int | None):
        super().__init__()
        self.config, self.context, self.window = config, context, window

    def training_loss(self, batch: WindowBatch) -> dict[str, Float[Tensor, ""]]:
        """Mean squared error under `loss`."""
        raise NotImplementedError

    def forecast(
        self, session: str, contexts: Float[Tensor, "batch neuron frame"], horizon: int
    ) -> Float[Tensor, "batch neuron horizon"]:
        """The next `horizon` frames, in z-scores; of contexts that are longer than needed the end is used."""
        raise NotImplementedError

    def count_predictions(self, batch: WindowBatch) -> int:
        """Number of frames, over all neurons and trials."""
        return batch.traces.numel()


class BlockNetwork(Network):
    """A network that forecasts a block of frames at once, and what lies beyond it from its own forecast."""

    config: BlockConfig

    def __init__(self, config: BlockConfig, context: int):
        super().__init__(config, context, context + config.horizon)

    def block(
        self, session: str, contexts: Float[Tensor, "batch neuron context"]
    ) -> Float[Tensor, "batch neuron horizon"]:
        """The `config.horizon` frames after the context; a network that knows the session's neurons looks at it."""
        return self(contexts)

    def training_loss(self, batch: WindowBatch) -> dict[str, Float[Tensor, ""]]:
        """Mean squared error of the last `config.horizon` frames of the window."""
        contexts, future = batch.traces[..., : self.context], batch.traces[..., self.context :]
        return {"loss": F.mse_loss(self.block(batch.session, contexts), future)}

    def forecast(
        self, session: str, contexts: Float[Tensor, "batch neuron frame"], horizon: int
    ) -> Float[Tensor, "batch neuron horizon"]:
        """Block by block: what was predicted takes the place of the oldest frames that the network is given."""
        frames = contexts[..., -self.context :]
        while frames.shape[-1] < self.context + horizon:
            frames = torch.cat([frames, self.block(session, frames[..., -self.context :])], dim=-1)
        return frames[..., self.context : self.context + horizon]


def instance_scale(
    contexts: Float[Tensor, "batch neuron context"],
) -> tuple[Float[Tensor, "batch neuron 1"], Float[Tensor, "batch neuron 1"]]:
    """Mean and sd of each neuron's own context, which reversible instance normalisation takes out and puts back."""
    mean = contexts.mean(dim=-1, keepdim=True)  # the official default; NeuralForecast's is the last frame
    return mean, (contexts.var(dim=-1, keepdim=True, correction=0) + EPSILON).sqrt()


def recorded_error(
    predicted: Float[Tensor, "batch frame behaviour"], behaviour: Float[Tensor, "batch frame behaviour"]
) -> Float[Tensor, ""]:
    """Mean squared error over what was recorded; 0 where nothing was."""
    known = behaviour.isfinite()
    error = torch.where(known, predicted - behaviour.nan_to_num(), 0.0)
    return error.square().sum() / known.sum().clamp(min=1)


class DecoderNetwork(Trainable):
    """A network that reads behaviour from traces and that `fit` trains, by the gradient alone.

    Subclasses are made from their config, the number of neurons of each session, the number of behavioural channels,
    and frames per second.

    Args:
        config: sizes.
        window: frames of a stretch that it trains on, or None for whole trials.
    """

    def __init__(self, config: Config, window: int | None):
        super().__init__()
        self.config, self.window = config, window

    def decode(
        self, session: str, traces: Float[Tensor, "batch neuron frame"]
    ) -> Float[Tensor, "batch frame behaviour"]:
        """Behaviour on every frame of stretches of any length, in z-scores."""
        raise NotImplementedError

    def training_loss(self, batch: DecodingBatch) -> dict[str, Float[Tensor, ""]]:
        """Mean squared error over the recorded frames under `loss`."""
        return {"loss": recorded_error(self.decode(batch.session, batch.traces), batch.behaviour)}

    def count_predictions(self, batch: DecodingBatch) -> int:
        """Number of recorded values."""
        return int(batch.behaviour.isfinite().sum())
