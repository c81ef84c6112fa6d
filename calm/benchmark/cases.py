"""The rows of the table: what is measured, in which sizes."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch

from calm.benchmark.complexity import AXES
from calm.benchmark.inference import export, matrix_product, rollout
from calm.benchmark.measure import Case
from calm.benchmark.rivals import FORECASTERS, calm, network, poyo, ridge_var
from calm.benchmark.settings import TOKENS, Settings
from calm.benchmark.steps import quantizer_step, transformer_step
from calm.profile import Profile, load_profile

# Scheduled sampling in every step, or in none, so that all steps are alike.
OBJECTIVES = {
    "cross-entropy": {"corruption": "input", "scheduled_sampling": 0.0, "replacement": 0.0},
    "three losses": {"corruption": "losses", "scheduled_sampling": 1.0},
}


class Size(NamedTuple):
    """Models, and how many neurons and trials they see at once."""

    name: str
    profile: Profile
    neurons: int
    trials: int


def all_cases(settings: Settings) -> list[Case]:
    """The rows in their order."""
    parts = (machine, quantizers, transformers, memory, corpora, rollouts, features, rivals, scaled)
    return [case for part in parts for case in part(settings)]


def sizes(settings: Settings) -> list[Size]:
    """The small models with their batches, then the paper's."""
    small, large = load_profile(settings.small), load_profile(settings.large)
    first, trials = settings.small_neurons, max(1, small.dat_fit.rows // settings.small_neurons)
    return [
        Size(f"{settings.small}, N = {first}", small, first, trials),
        *(Size(f"{settings.large}, N = {each}", large, each, settings.trials) for each in settings.large_neurons),
    ]


def machine(settings: Settings) -> Iterator[Case]:
    """Rates that the others are compared with."""
    for dtype in (torch.float32, torch.bfloat16):
        yield Case("machine", "matrix product", str(dtype), functools.partial(matrix_product, dtype))


def quantizers(settings: Settings) -> Iterator[Case]:
    """Training steps of the quantizer, in the batches of the profile."""
    for name, profile, neurons, _ in sizes(settings):
        step = functools.partial(quantizer_step, profile.quantizer, profile.quantizer_fit, neurons, TOKENS)
        yield Case("training step", "quantizer", name, step)


def transformers(settings: Settings) -> Iterator[Case]:
    """Training steps of the transformer, with one loss and with three."""
    for name, profile, neurons, trials in sizes(settings):
        for objective, changes in OBJECTIVES.items():
            config = profile.dat.changed(**changes)
            step = functools.partial(transformer_step, config, profile.dat_fit, (neurons,), trials, TOKENS)
            yield Case("training step", "transformer", f"{name}, {objective}", step)


def memory(settings: Settings) -> Iterator[Case]:
    """Memory of a step on one trial, on a CPU of fewer tokens than trials have."""
    profile, tokens = load_profile(settings.large), settings.memory_tokens
    config = profile.dat.changed(**OBJECTIVES["cross-entropy"])
    for neurons in settings.memory_neurons:
        step = functools.partial(transformer_step, config, profile.dat_fit, (neurons,), 1, tokens)
        yield Case("memory", "transformer", f"{settings.large}, N = {neurons}, T = {tokens}", step)


def corpora(settings: Settings) -> Iterator[Case]:
    """The same step in corpora of different size, of which all but one session only have their embeddings."""
    profile = load_profile(settings.small)
    config = profile.dat.changed(**OBJECTIVES["cross-entropy"])
    for corpus in settings.corpora:
        step = functools.partial(transformer_step, config, profile.dat_fit, corpus, 1, TOKENS)
        name = f"{settings.small}, {sum(corpus):,} neurons in {len(corpus)} sessions"
        yield Case("corpus", "transformer", name, step)


def rollouts(settings: Settings) -> Iterator[Case]:
    """Greedy rollouts, with keys and values kept and without."""
    for name, profile, neurons, trials in sizes(settings)[:2]:
        for cached in (True, False):
            call = functools.partial(rollout, profile.dat, neurons, trials, cached)
            yield Case("rollout", "transformer", f"{name}, {'cached' if cached else 'uncached'}", call)


def features(settings: Settings) -> Iterator[Case]:
    """Export of features for the behaviour heads, at the smallest and the largest size."""
    for name, profile, neurons, _ in sizes(settings)[:: len(settings.large_neurons)]:
        call = functools.partial(export, profile.quantizer, profile.dat, neurons)
        yield Case("features", "quantizer, transformer", name, call)


def rivals(settings: Settings) -> Iterator[Case]:
    """CalM and what it is compared with."""
    name = f"{settings.rivals}, N = {load_profile(settings.rivals).simulation.neurons}"
    yield Case("rivals", "CalM", f"{name}, corrupted input", calm)
    for network_name in FORECASTERS:
        yield Case("rivals", network_name, name, functools.partial(network, network_name))
    yield Case("rivals", "ridge VAR", f"{name}, whole fit", ridge_var)
    yield Case("rivals", "POYO+", f"{name}, decoding", poyo)


def scaled(settings: Settings) -> Iterator[Case]:
    """Steps of the small models on one trial of more and more neurons, and on a longer and longer one."""
    profile, first = load_profile(settings.small), settings.scaled_neurons[0]
    config = profile.dat.changed(**OBJECTIVES["cross-entropy"])
    growing = {
        "neurons": [(neurons, TOKENS) for neurons in settings.scaled_neurons],
        "tokens": [(first, tokens) for tokens in settings.scaled_tokens],
    }
    for section, axis in AXES.items():
        for neurons, tokens in growing[axis]:
            name, fit = f"N = {neurons}, T = {tokens}", profile.quantizer_fit.changed(rows=neurons, neurons=neurons)
            step = functools.partial(quantizer_step, profile.quantizer, fit, neurons, tokens)
            yield Case(section, "quantizer", name, step)
            step = functools.partial(transformer_step, config, profile.dat_fit, (neurons,), 1, tokens)
            yield Case(section, "transformer", name, step)
