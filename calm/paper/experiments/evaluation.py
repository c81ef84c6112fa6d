"""The forecasters of a figure: all methods behind one interface, and what each of them cost."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from calm.baselines.itransformer import ITransformer
from calm.baselines.linear import Decay, MeanTrial, Persistence, RidgeVAR
from calm.baselines.patchtst import PatchTST
from calm.baselines.poco import POCO
from calm.baselines.tcn import TCN
from calm.config import Config, FitConfig, ForecastConfig
from calm.data.session import Session, cut_trials
from calm.models.interfaces import Forecaster, Network
from calm.models.quantizer import NeuralQuantizer
from calm.models.rollout import Choice
from calm.models.transformer import DualAxisTransformer
from calm.profile import Profile
from calm.training.forecasting import CalMForecaster, NetworkForecaster
from calm.training.stages import Search, Trained, search
from calm.training.tasks import ForecasterTask

Forecasts = list[Float[np.ndarray, "neuron _horizon"]]
Label = tuple[str, str]  # method and variant


@dataclasses.dataclass(frozen=True)
class Cost:
    """What it took to train a method.

    Attributes:
        parameters: that were trained.
        seconds: of the training that was kept.
        search: seconds of all tries together.
    """

    parameters: int
    seconds: float
    search: float


def linear_forecasters(session: Session, profile: Profile) -> tuple[dict[Label, Forecaster], dict[str, Cost]]:
    """The naive and linear methods, fitted on this session alone."""
    methods = {
        "persistence": Persistence(),
        "decay": Decay(),
        "mean trial": MeanTrial(),
        "ridge VAR": RidgeVAR(profile.var, profile.forecast),
    }
    fitted, costs = {}, {}
    for name, method in methods.items():
        began = time.perf_counter()
        fitted[name, ""] = method.fit(session)
        seconds = time.perf_counter() - began
        costs[name] = Cost(method.parameters, seconds, seconds)
    return fitted, costs


def calm_forecasters(
    model: DualAxisTransformer, quantizer: NeuralQuantizer, session: Session, profile: Profile
) -> dict[Label, Forecaster]:
    """CalM for each way to go on after a token: likeliest, a sample, mean of many samples, expectation."""
    config = profile.forecast
    ways: dict[str, tuple[Choice, int]] = {"greedy": ("greedy", 1), "sample": ("sample", 1)}
    ways |= {f"mean of {config.samples}": ("sample", config.samples), "expected": ("expected", 1)}
    return {
        ("CalM", variant): CalMForecaster(model, quantizer, session.name, config, choice=choice, samples=samples)
        for variant, (choice, samples) in ways.items()
    }


def calm_cost(quantizer: Trained[NeuralQuantizer], transformers: Search[DualAxisTransformer]) -> Cost:
    """Both stages together; only the second one is searched."""
    return Cost(
        quantizer.parameters + transformers.chosen.parameters,
        quantizer.seconds + transformers.chosen.seconds,
        quantizer.seconds + transformers.seconds,
    )


def rival_tasks(sessions: Sequence[Session], profile: Profile) -> dict[str, tuple[ForecasterTask, FitConfig]]:
    """The networks that the paper's Figure 3 compares CalM with, on the given sessions."""
    kinds: dict[str, tuple[type[Network], Config, FitConfig]] = {
        "TCN": (TCN, profile.tcn, profile.tcn_fit),
        "PatchTST": (PatchTST, profile.patchtst, profile.patchtst_fit),
        "iTransformer": (ITransformer, profile.itransformer, profile.itransformer_fit),
        "POCO": (POCO, profile.poco, profile.poco_fit),
    }
    return {
        name: (ForecasterTask(kind, config, sessions, profile.forecast), fit_config)
        for name, (kind, config, fit_config) in kinds.items()
    }


def search_rivals(session: Session, profile: Profile, *, seed: int, runs: Path) -> dict[str, Search[Network]]:
    """Every rival trained on this session alone."""
    tasks = rival_tasks([session], profile)
    return {name: search(*task, profile.learning_rates, seed=seed, runs=runs) for name, task in tasks.items()}


def rival_forecasters(
    searches: Mapping[str, Search[Network]], session: Session, profile: Profile
) -> tuple[dict[Label, Forecaster], dict[str, Cost]]:
    """The chosen training of each rival."""
    forecasters = {
        (name, ""): NetworkForecaster(found.chosen.model, session.name, profile.forecast)
        for name, found in searches.items()
    }
    costs = {
        name: Cost(found.chosen.parameters, found.chosen.seconds, found.seconds) for name, found in searches.items()
    }
    return forecasters, costs


def forecast_trials(
    forecasters: Mapping[Label, Forecaster], session: Session, trials: Int[np.ndarray, " part"], config: ForecastConfig
) -> tuple[dict[Label, Forecasts], dict[Label, float]]:
    """Forecasts of the frames after the context, and the seconds per trial that they took."""
    contexts, futures = cut_trials(session, trials, config.context, config.horizon)
    horizons = [future.shape[1] for future in futures]
    forecasts, seconds = {}, {}
    for label, forecaster in forecasters.items():
        began = time.perf_counter()
        forecasts[label] = forecaster.forecast(contexts, horizons)
        seconds[label] = (time.perf_counter() - began) / len(trials)
    return forecasts, seconds
