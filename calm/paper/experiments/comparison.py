"""All methods of a forecasting figure, trained and scored: on single sessions, and on many at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from calm.baselines.validation import compared_trials
from calm.data.session import Session
from calm.models.interfaces import Forecaster, Network
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer
from calm.paper.experiments.evaluation import (
    Cost,
    Forecasts,
    Label,
    calm_cost,
    calm_forecasters,
    forecast_trials,
    linear_forecasters,
    rival_forecasters,
    rival_tasks,
    search_rivals,
)
from calm.paper.experiments.scores import ForecastScores
from calm.profile import Profile
from calm.recordings import Recordings
from calm.synthetic.ceilings import cohort_ceilings
from calm.training.forecasting import NetworkForecaster
from calm.training.stages import Search, Trained, search, train
from calm.training.tasks import QuantizerTask, TransformerTask

Methods = dict[Label, Forecaster]


def train_single(
    session: Session, profile: Profile, *, seed: int, runs: Path
) -> tuple[Methods, dict[str, Cost], dict[str, Search]]:
    """Every method trained on one session from nothing, CalM's quantizer included; with its cost and its tries."""
    profile = profile.of_one_recording()
    quantizer = train(QuantizerTask([session], profile.quantizer), profile.quantizer_fit, seed=seed, runs=runs)
    task = TransformerTask(quantizer, [session], profile.dat, profile.forecast)
    transformers = search(task, profile.dat_fit, profile.learning_rates, seed=seed, runs=runs)
    rivals = search_rivals(session, profile, seed=seed, runs=runs)
    methods, costs = linear_forecasters(session, profile)
    networks, network_costs = rival_forecasters(rivals, session, profile)
    methods |= networks | calm_forecasters(transformers.chosen.model, quantizer.model, session, profile)
    costs |= {**network_costs, "CalM": calm_cost(quantizer, transformers)}
    return methods, costs, {**rivals, "CalM": transformers}


def score_methods(
    scores: ForecastScores, recordings: Recordings, session: Session, methods: Methods, group: str = ""
) -> tuple[dict[Label, Forecasts], dict[Label, float]]:
    """Score methods on validation and test trials, and the ceilings where the truth is known.

    Returns the forecasts of the test trials, and the seconds that each method took for one.
    """
    truth = recordings.truth(session)
    for split in ("val", "test"):
        trials = compared_trials(session, split, scores.config)
        forecasts, seconds = forecast_trials(methods, session, trials, scores.config)
        if truth is not None:
            forecasts |= cohort_ceilings(truth, session, trials, scores.config, recordings.smoothing)
        scores.add(session, trials, forecasts, group)
    return forecasts, seconds


def train_many(
    quantizer: Trained[NeuralQuantizer],
    groups: Mapping[str, Sequence[Session]],
    profile: Profile,
    *,
    seed: int,
    runs: Path,
) -> tuple[dict[str, Trained[DualAxisTransformer]], dict[str, Network]]:
    """CalM and POCO of many sessions, for each group: trained on the held-in sessions, adapted to the held-out ones."""

    def task_of(sessions: Sequence[Session]) -> TransformerTask:
        return TransformerTask(quantizer, sessions, profile.dat, profile.forecast)

    held_in, rates, kept = groups["held-in"], profile.learning_rates, {"seed": seed, "runs": runs}
    transformers = search(task_of(held_in), profile.dat_fit, rates, **kept)
    poco = search(*rival_tasks(held_in, profile)["POCO"], rates, **kept)
    models, networks = {"held-in": transformers.chosen}, {"held-in": poco.chosen.model}
    if held_out := groups.get("held-out"):
        fit_config = profile.dat_fit.changed(learning_rate=transformers.learning_rate)
        models["held-out"] = train(task_of(held_out), fit_config, **kept, pretrained=transformers.chosen)
        task, fit_config = rival_tasks(held_out, profile)["POCO"]
        fit_config = fit_config.changed(learning_rate=poco.learning_rate)
        networks["held-out"] = train(task, fit_config, **kept, pretrained=poco.chosen).model
    return models, networks


def methods_of_many(
    session: Session, transformer: DualAxisTransformer, quantizer: NeuralQuantizer, poco: Network, profile: Profile
) -> Methods:
    """CalM and POCO of many sessions on one of them, and the naive and linear methods fitted to it alone."""
    methods = linear_forecasters(session, profile)[0]
    methods["POCO", ""] = NetworkForecaster(poco, session.name, profile.forecast)
    return methods | calm_forecasters(transformer, quantizer, session, profile)
