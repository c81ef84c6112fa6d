"""Figure 3: all forecasters, trained on one session or on many, and scored on the same frames of the same trials."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from calm.baselines.itransformer import ITransformer
from calm.baselines.linear import Decay, MeanTrial, Persistence, RidgeVAR
from calm.baselines.patches import ContinuousPatches
from calm.baselines.patchtst import PatchTST
from calm.baselines.poco import POCO
from calm.baselines.tcn import TCN
from calm.baselines.validation import compared_trials
from calm.config.base import Config
from calm.config.fitting import FitConfig, ForecastConfig
from calm.data.session import Session, cut_trials
from calm.metrics import correlation_over_time, poco_score, trial_correlation, trial_mse
from calm.models.interfaces import Forecaster, Network
from calm.models.quantizer import NeuralQuantizer
from calm.models.rollout import Choice
from calm.models.transformer import DualAxisTransformer
from calm.paper.experiments.methods import Method, MethodSet, costs_of
from calm.paper.results import FINE_TUNED, Results
from calm.profile import Profile
from calm.recordings import Recordings
from calm.synthetic.ceilings import cohort_ceilings
from calm.training.forecasting import CalMForecaster, NetworkForecaster
from calm.training.stages import Model, Search, Task, Trained, search, train
from calm.training.tasks import FineTuningTask, ForecasterTask, TransformerTask, train_quantizer

Forecasts = list[Float[np.ndarray, "neuron _horizon"]]  # of each trial
PATCHES = "continuous patches"
OF_MANY = ("POCO", PATCHES)  # networks that learn from many sessions and adapt to new ones


def rival_tasks(sessions: Sequence[Session], profile: Profile) -> dict[str, tuple[ForecasterTask, FitConfig]]:
    """The networks that Figure 3 compares CalM with, on these sessions."""
    kinds: dict[str, tuple[type[Network], Config, FitConfig]] = {
        "TCN": (TCN, profile.tcn, profile.tcn_fit),
        "PatchTST": (PatchTST, profile.patchtst, profile.patchtst_fit),
        "iTransformer": (ITransformer, profile.itransformer, profile.itransformer_fit),
        "POCO": (POCO, profile.poco, profile.poco_fit),
        PATCHES: (ContinuousPatches, profile.patches, profile.patches_fit),
    }
    return {
        name: (ForecasterTask(kind, config, sessions, profile.forecast), fit_config)
        for name, (kind, config, fit_config) in kinds.items()
    }


def linear_forecasters(session: Session, profile: Profile) -> MethodSet[Forecaster]:
    """The naive and linear methods, fitted to this session alone."""
    trained: MethodSet[Forecaster] = MethodSet()
    trained.fit(("persistence", ""), Persistence(), session)
    trained.fit(("decay", ""), Decay(), session)
    trained.fit(("mean trial", ""), MeanTrial(), session)
    trained.fit(("ridge VAR", ""), RidgeVAR(profile.var, profile.forecast), session)
    return trained


def calm_forecasters(
    model: DualAxisTransformer, quantizer: NeuralQuantizer, session: Session, config: ForecastConfig
) -> dict[Method, Forecaster]:
    """CalM for each way to go on after a token: likeliest, a sample, mean of many samples, expectation."""
    ways: dict[str, tuple[Choice, int]] = {"greedy": ("greedy", 1), "sample": ("sample", 1)}
    ways |= {f"mean of {config.samples}": ("sample", config.samples), "expected": ("expected", 1)}
    return {
        ("CalM", variant): CalMForecaster(model, quantizer, session.name, config, choice=choice, samples=samples)
        for variant, (choice, samples) in ways.items()
    }


def expected_forecaster(
    transformer: Trained[DualAxisTransformer],
    quantizer: Trained[NeuralQuantizer],
    session: Session,
    config: ForecastConfig,
) -> Forecaster:
    """CalM in a single pass that is fed all tokens, weighted: the rollout through which it is fine-tuned."""
    return CalMForecaster(transformer.model, quantizer.model, session.name, config, choice="expected")


def train_on_one(session: Session, profile: Profile, *, seed: int, runs: Path) -> MethodSet[Forecaster]:
    """Every method trained on one session from nothing, CalM's quantizer included (Fig. 3B, 3C)."""
    trained = linear_forecasters(session, profile)
    for name, task in rival_tasks([session], profile).items():
        tries = search(*task, profile.learning_rates, seed=seed, runs=runs)
        trained.add((name, ""), NetworkForecaster(tries.chosen.model, session.name, profile.forecast), tries)
    add_calm(trained, session, profile, seed=seed, runs=runs)
    return trained


def add_calm(trained: MethodSet[Forecaster], session: Session, profile: Profile, *, seed: int, runs: Path) -> None:
    """CalM as the paper has it and fine-tuned on traces; their costs count all stages, of which one is not searched."""
    quantizer = train_quantizer([session], profile, seed=seed, runs=runs)
    tries = search_transformer(quantizer, [session], profile, seed=seed, runs=runs)
    task = FineTuningTask(quantizer, [session], profile.dat, profile.forecast, transformer=tries.chosen)
    tuned = search(task, profile.finetune_fit, profile.learning_rates, seed=seed, runs=runs)
    trained.methods |= calm_forecasters(tries.chosen.model, quantizer.model, session, profile.forecast)
    trained.methods[FINE_TUNED, ""] = expected_forecaster(tuned.chosen, quantizer, session, profile.forecast)
    for name, searches in {"CalM": [tries], FINE_TUNED: [tries, tuned]}.items():
        trained.searches[name, ""] = searches[-1]
        trained.costs[name, ""] = costs_of(
            quantizer.parameters + searches[-1].chosen.parameters,
            quantizer.seconds + sum(each.chosen.seconds for each in searches),
            quantizer.seconds + sum(each.seconds for each in searches),
        )


def search_transformer(
    quantizer: Trained[NeuralQuantizer], sessions: Sequence[Session], profile: Profile, *, seed: int, runs: Path
) -> Search[DualAxisTransformer]:
    """CalM's transformer of some sessions with each learning rate of the profile."""
    task = TransformerTask(quantizer, sessions, profile.dat, profile.forecast)
    return search(task, profile.dat_fit, profile.learning_rates, seed=seed, runs=runs)


def train_calm(
    recordings: Recordings, *, seed: int, runs: Path
) -> tuple[Trained[NeuralQuantizer], dict[str, Trained[DualAxisTransformer]]]:
    """CalM's quantizer of the held-in sessions, and its transformer by group, adapted to held-out ones (Sec. 3.2)."""
    profile = recordings.profile
    quantizer = train_quantizer(recordings.held_in, profile, seed=seed, runs=runs)
    tasks = {
        group: (TransformerTask(quantizer, sessions, profile.dat, profile.forecast), profile.dat_fit)
        for group, sessions in recordings.groups.items()
    }
    return quantizer, train_groups(tasks, profile.learning_rates, seed=seed, runs=runs)


def finetune_calm(
    recordings: Recordings,
    quantizer: Trained[NeuralQuantizer],
    transformers: Mapping[str, Trained[DualAxisTransformer]],
    *,
    seed: int,
    runs: Path,
) -> dict[str, Trained[DualAxisTransformer]]:
    """CalM of many sessions (see `train_calm`), fine-tuned on traces; of held-out sessions only the embeddings are."""
    profile = recordings.profile
    tasks = {
        group: (
            FineTuningTask(quantizer, sessions, profile.dat, profile.forecast, transformer=transformers[group]),
            profile.finetune_fit,
        )
        for group, sessions in recordings.groups.items()
    }
    return train_groups(tasks, profile.learning_rates, seed=seed, runs=runs)


def train_rivals(
    recordings: Recordings, names: Sequence[str] = OF_MANY, *, seed: int, runs: Path
) -> dict[str, dict[str, Trained[Network]]]:
    """POCO and continuous patches by group and name, trained and adapted as CalM's transformer is."""
    profile = recordings.profile
    tasks = {group: rival_tasks(sessions, profile) for group, sessions in recordings.groups.items()}
    trained = {
        name: train_groups({group: tasks[group][name] for group in tasks}, profile.learning_rates, seed=seed, runs=runs)
        for name in names
    }
    return {group: {name: networks[group] for name, networks in trained.items()} for group in tasks}


def train_groups(
    tasks: Mapping[str, tuple[Task[Model], FitConfig]], factors: Sequence[float], *, seed: int, runs: Path
) -> dict[str, Trained[Model]]:
    """A model of the held-in sessions, whose learning rate is searched, and its adaptation to the held-out ones."""
    tries = search(*tasks["held-in"], factors, seed=seed, runs=runs)
    trained = {"held-in": tries.chosen}
    if "held-out" in tasks:
        task, fit_config = tasks["held-out"]
        fit_config = fit_config.changed(learning_rate=tries.learning_rate)
        trained["held-out"] = train(task, fit_config, seed=seed, runs=runs, pretrained=tries.chosen)
    return trained


def trained_on_many(
    session: Session,
    transformer: Trained[DualAxisTransformer],
    quantizer: Trained[NeuralQuantizer],
    rivals: Mapping[str, Trained[Network]],
    profile: Profile,
) -> MethodSet[Forecaster]:
    """Networks of many sessions on one of them, and the naive and linear methods fitted to it alone (Fig. 3D)."""
    trained = linear_forecasters(session, profile)
    for name, rival in rivals.items():
        trained.methods[name, ""] = NetworkForecaster(rival.model, session.name, profile.forecast)
    trained.methods |= calm_forecasters(transformer.model, quantizer.model, session, profile.forecast)
    return trained


def forecast_trials(
    trained: MethodSet[Forecaster], session: Session, trials: Int[np.ndarray, " trial"], config: ForecastConfig
) -> dict[Method, Forecasts]:
    """What each method forecasts of the frames after the context."""
    contexts, futures = cut_trials(session, trials, config.context, config.horizon)
    horizons = [future.shape[1] for future in futures]
    return trained.use(lambda method: method.forecast(contexts, horizons), len(trials))


def compare_forecasters(
    results: Results,
    trained: MethodSet[Forecaster],
    recordings: Recordings,
    session: Session,
    *,
    item: str,
    group: str = "",
) -> dict[str, dict[Method, Forecasts]]:
    """Score methods on validation and test trials, and the ceilings where the truth is known.

    Returns the forecasts of both by split.
    """
    config, truth, by_split = recordings.profile.forecast, recordings.truth(session), {}
    for split in ("val", "test"):
        trials = compared_trials(session, split, config)
        forecasts = forecast_trials(trained, session, trials, config)
        if truth is not None:
            forecasts |= cohort_ceilings(truth, session, trials, config, recordings.smoothing)
        score_forecasts(results, forecasts, session, trials, config, item=item, group=group)
        by_split[split] = forecasts
    return by_split


def score_forecasts(
    results: Results,
    forecasts: Mapping[Method, Forecasts],
    session: Session,
    trials: Int[np.ndarray, " trial"],
    config: ForecastConfig,
    *,
    item: str,
    group: str = "",
) -> None:
    """Add scores of the frames after the context: means over trials of one split, and each trial (`<item>_trials`)."""
    contexts, futures = cut_trials(session, trials, config.context, config.horizon)
    last = [context[:, -1:] for context in contexts]
    where = {"split": session.trials["split"].iloc[trials[0]], "group": group, "session": session.name}
    for (method, variant), predicted in forecasts.items():
        where |= {"method": method, "variant": variant}
        correlations = list(map(trial_correlation, futures, predicted))
        results.add("corr", np.mean(correlations), item=item, n=len(trials), **where)
        results.add("mse", np.mean(list(map(trial_mse, futures, predicted))), item=item, n=len(trials), **where)
        results.add("POCO's score", poco_score(futures, predicted, last), item=item, n=len(trials), **where)
        results.add_each("corr", correlations, item=f"{item}_trials", trial=trials, **where)


def score_fading(
    results: Results,
    forecasts: Mapping[Method, Forecasts],
    session: Session,
    trials: Int[np.ndarray, " trial"],
    config: ForecastConfig,
    *,
    item: str,
    group: str = "",
) -> None:
    """Add the correlation over trials of one split at each time since the end of the context (`<item>_fading`).

    As many trials count as reach that time; where they are too few there is no correlation.
    """
    _, futures = cut_trials(session, trials, config.context, config.horizon)
    frames = np.array([future.shape[1] for future in futures])
    where = {"split": session.trials["split"].iloc[trials[0]], "group": group, "session": session.name}
    for (method, variant), predicted in forecasts.items():
        where |= {"method": method, "variant": variant}
        values = correlation_over_time(futures, predicted)
        lags = np.arange(1, len(values) + 1)
        reaching = (frames >= lags[:, None]).sum(axis=1)
        rows = {"n": reaching, "seconds": lags / session.rate}
        results.add_each("corr over trials", values, item=f"{item}_fading", **where, **rows)


def score_to_the_end(
    results: Results,
    trained: MethodSet[Forecaster],
    recordings: Recordings,
    session: Session,
    *,
    fixed: Sequence[Method],
    item: str,
    group: str = "",
) -> None:
    """Add how forecasts of all test trials fade up to the end of each (see `score_fading`).

    The methods `fixed` forecast up to the horizon that they were trained for, where they stop.
    """
    usual = recordings.profile.forecast
    whole, truth = usual.changed(horizon=None), recordings.truth(session)
    trials = session.trials_of("test")
    trials = trials[session.frames[trials] > usual.context]
    for config, stops in ((whole, False), (usual, True)):
        methods = {name: method for name, method in trained.methods.items() if (name in fixed) == stops}
        forecasts = forecast_trials(MethodSet(methods), session, trials, config)
        if truth is not None and not stops:
            forecasts |= cohort_ceilings(truth, session, trials, config, recordings.smoothing)
        score_fading(results, forecasts, session, trials, config, item=item, group=group)
