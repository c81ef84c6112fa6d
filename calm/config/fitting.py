"""How models are trained, tried and compared."""

from typing import Literal

import pydantic
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from calm.config.base import BelowOne, Config


class FitConfig(Config):
    """The training loop; a budget of steps, which are evenly spread over whatever sessions there are."""

    steps: PositiveInt
    adapt_share: PositiveFloat = 1.0  # of as many steps, where new sessions are adapted to
    adapt_rate: PositiveFloat = 1.0  # times the learning rate, where only embeddings are adapted
    rows: PositiveInt = 2048  # traces (trial x neuron) per step, all of one session
    neurons: PositiveInt = 512  # of them, at most
    learning_rate: NonNegativeFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-3
    warmup: BelowOne = 0.06  # share of the steps
    clip: PositiveFloat = 1.0
    weight_ema: BelowOne = 0.0  # decay per step of the averaged weights; 0 is none
    precision: Literal["32-true", "64-true", "bf16-mixed"] = "32-true"
    session_groups: PositiveInt = 1  # a step takes a batch of each: see `calm.training.parallel`
    validate_every: PositiveInt = 100  # steps; an interrupted run goes on from the last validation
    patience: NonNegativeInt = 0  # validations without a better score before stopping; 0 trains to the end

    def adapting(self) -> "FitConfig":
        """The loop that a frozen model gets to know new sessions by."""
        return self.shortened(self.adapt_share).changed(learning_rate=self.learning_rate * self.adapt_rate)

    def shortened(self, share: float) -> "FitConfig":
        """A share of the steps, at least one, or a multiple; with as many validations."""
        steps, every = (max(1, round(share * count)) for count in (self.steps, self.validate_every))
        return self.changed(steps=steps, validate_every=every)


class ForecastConfig(Config):
    """Rollouts: how many frames are given, and how many futures are averaged."""

    context: PositiveInt = 40  # frames
    horizon: PositiveInt | None = None  # frames after it on which methods are compared; None: see `calm.recordings`
    trained_horizon: PositiveInt = 60  # frames that fine-tuning rolls out, at most
    samples: PositiveInt = 64  # rollouts whose mean is the forecast
    validation_trials: PositiveInt = 300  # whose forecasts choose the weights: of all sessions, at least one of each
    rows: PositiveInt = 20_000  # neurons x trials x samples rolled out at once


class AblationConfig(Config):
    """Trainings without one part at a time (Tables 7 and 8)."""

    sessions: PositiveInt = 12  # at most, at random among those that models are trained on
    seeds: tuple[int, ...] = pydantic.Field((0, 1, 2), min_length=1)  # of the trainings; the paper mentions none
    quantizer_steps: PositiveInt
    dat_steps: PositiveInt
    rows_share: float = pydantic.Field(1.0, gt=0, le=1)  # of the rows per step of either fit
