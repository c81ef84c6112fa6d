"""Small cases of the fit loop, and ways to run them, interrupt them and compare them."""

import itertools

import pandas as pd
import torch
from torch import nn

from calm.config.base import Config
from calm.config.fitting import FitConfig
from calm.models.interfaces import Trainable
from calm.training.fit import Objective, fit

ROUNDS, EVERY = 3, 3  # validations, and steps before each
STEPS = ROUNDS * EVERY


class Toy(Trainable):
    """A regression whose loss draws random numbers, and whose buffer and attributes change like a real model's."""

    session_parameters = ("embeddings.1",)

    def __init__(self):
        super().__init__()
        self.config = Config()
        self.map = nn.Linear(3, 2)
        self.embeddings = nn.ParameterList([torch.ones(2), torch.ones(1, 2)])
        self.register_buffer("steps", torch.zeros(()))
        self.trail = []  # weights after each step

    def training_loss(self, batch):
        error = (self.map(batch) + self.embeddings[0] - batch[:, :2] * torch.rand(()) * self.noise).square().mean()
        return {"loss": error, "double": 2 * error}

    def before_step(self, step, steps):
        self.noise = 1 + step / steps

    def after_step(self):
        self.steps += 1
        self.trail.append(self.map.weight.detach().clone())

    def count_predictions(self, batch):
        return len(batch)


def first_pass(batches):
    """The batches in which every trial of every session comes once, in their order."""
    sessions = range(len(batches.sessions))
    steps = range(max(map(batches.count, sessions)) * len(sessions))
    plan = [(step // len(sessions), batches.stretches(step)) for step in steps]
    return [batches.load(stretches) for turn, stretches in plan if turn < batches.count(stretches.session)]


def make_toy():
    torch.manual_seed(0)
    return Toy()


def toy_batch(step):
    """Another batch in each step, the same for the same step."""
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(step))


def toy_score(model):
    return -model.training_loss(torch.ones(4, 3))["loss"].item()


def toy_case():
    """Toy, its task and its numbers."""
    config = FitConfig(steps=STEPS, validate_every=EVERY, weight_ema=0.5, learning_rate=0.05)
    return make_toy, Objective(toy_batch, lambda model: toy_score(with_noise(model))), config


def with_noise(model):
    """A loaded toy has not seen `before_step`."""
    model.noise = 1.0
    return model


def run(case, folder, *, task=None, **changes):
    """Fit a new model; returns it with its history."""
    make, usual, config = case
    model = make()
    return model, fit(model, task or usual, config.changed(**changes), seed=0, folder=folder)


def stopping(task, *, step=None, validation=None):
    """The task, interrupted when the batch of a step is asked for or in a validation."""
    validations = itertools.count()

    def batch(number):
        if number == step:
            raise KeyboardInterrupt
        return task.batch(number)

    def validate(model):
        if next(validations) == validation:
            raise KeyboardInterrupt
        return task.validate(model)

    return Objective(batch, validate)


def assert_same(first, second):
    """Two runs ended in the same weights and buffers and wrote the same history, wall time apart."""
    (model, history), (other, other_history) = first, second
    states = model.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []
    assert (history["seconds"] > 0).all()
    pd.testing.assert_frame_equal(
        history.drop(columns="seconds"), other_history.drop(columns="seconds"), check_exact=True
    )
