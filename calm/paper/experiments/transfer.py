"""How few trials of a new session are enough to forecast it, adapted or trained from nothing; not in the paper."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calm.baselines.validation import compared_trials
from calm.data.session import Session, cut_trials
from calm.metrics import trial_correlation
from calm.models.interfaces import Forecaster
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer
from calm.paper.experiments.forecasting import (
    expected_forecaster,
    forecast_trials,
    linear_forecasters,
    rival_tasks,
    search_transformer,
)
from calm.paper.experiments.methods import MethodSet
from calm.paper.results import Results
from calm.profile import Profile
from calm.training.decoding import with_share
from calm.training.forecasting import NetworkForecaster
from calm.training.stages import Search, Trained, search, train, untrained
from calm.training.tasks import TransformerTask
from calm.weights.pretrained import Pretrained

ITEM = "transfer"
ADAPTED, SHIPPED, SCRATCH = ("CalM", "adapted"), ("CalM", "adapted from what ships"), ("CalM", "from scratch")
Stages = tuple[Trained[NeuralQuantizer], Trained[DualAxisTransformer]]


def score_few_trials(
    results: Results,
    session: Session,
    profile: Profile,
    counts: Sequence[int],
    *,
    others: Stages,
    weights: Pretrained,
    runs: Path,
) -> None:
    """Add the forecast correlation of test trials, and the seconds of training, for each number of training trials.

    Validation trials choose weights and penalties whatever the number, and the scale of the traces is that of all
    training trials.

    Args:
        results: to add to; its seed is that of the trainings and of which trials are taken.
        session: that `others` were not trained on.
        profile: one session is trained on for the share of steps that it says.
        counts: of training trials; without any, CalM forecasts neurons that it knows nothing of. All are taken besides.
        others: CalM's stages, trained on other subjects, of which the transformer is adapted.
        weights: those that ship, which are adapted likewise, and have the tokenizer of what is trained from scratch.
        runs: where trainings are kept.
    """
    trials, every = compared_trials(session, "test", profile.forecast), len(session.trials_of("train"))
    _, futures = cut_trials(session, trials, profile.forecast.context, profile.forecast.horizon)
    for count in sorted({*(min(count, every) for count in counts), every}):
        few = with_share(session, max(count, 1) / every, seed=results.seed)
        trained = MethodSet[Forecaster]()
        if count:
            trained = train_from_scratch(few, profile, weights.quantizer, seed=results.seed, runs=runs)
        for variant, stages in {ADAPTED: others, SHIPPED: (weights.quantizer, weights.transformer)}.items():
            if count:
                add_adapted(trained, variant, few, profile, stages, seed=results.seed, runs=runs)
            else:
                trained.methods[variant] = unadapted(few, profile, stages, seed=results.seed)
        where = {"item": ITEM, "session": session.name, "trials": count}
        for (method, variant), predicted in forecast_trials(trained, session, trials, profile.forecast).items():
            values, names = list(map(trial_correlation, futures, predicted)), {"method": method, "variant": variant}
            results.add("corr", np.mean(values), n=len(values), split="test", **names, **where)
        for (method, variant), costs in trained.costs.items():
            results.add("training (s)", costs["training (s)"], split="train", method=method, variant=variant, **where)


def train_from_scratch(
    few: Session, profile: Profile, tokenizer: Trained[NeuralQuantizer], *, seed: int, runs: Path
) -> MethodSet[Forecaster]:
    """What learns from one session alone; CalM has a tokenizer that was trained elsewhere."""
    trained, short = linear_forecasters(few, profile), profile.shortened(profile.single_share)
    task, fit_config = rival_tasks([few], short)["POCO"]
    poco = search(task, fit_config, profile.learning_rates, seed=seed, runs=runs)
    trained.add(("POCO", "from scratch"), NetworkForecaster(poco.chosen.model, few.name, profile.forecast), poco)
    tries = search_transformer(tokenizer, [few], short, seed=seed, runs=runs)
    trained.add(SCRATCH, expected_forecaster(tries.chosen, tokenizer, few, profile.forecast), tries)
    return trained


def add_adapted(
    trained: MethodSet[Forecaster],
    variant: tuple[str, str],
    few: Session,
    profile: Profile,
    others: Stages,
    *,
    seed: int,
    runs: Path,
) -> None:
    """The transformer of other recordings, of which only the embeddings are trained (Sec. 3.2)."""
    quantizer, transformer = others
    task = TransformerTask(quantizer, [few], transformer.model.config, profile.forecast)
    adapted = train(task, profile.dat_fit, seed=seed, runs=runs, pretrained=transformer)
    forecaster = expected_forecaster(adapted, quantizer, few, profile.forecast)
    trained.add(variant, forecaster, Search({profile.dat_fit.learning_rate: adapted}))


def unadapted(session: Session, profile: Profile, others: Stages, *, seed: int) -> Forecaster:
    """The transformer of other recordings, to which all neurons of the session are average ones."""
    quantizer, transformer = others
    unknown = transformer.model.config.changed(loadings=0)  # which would take trials
    task = TransformerTask(quantizer, [session], unknown, profile.forecast)
    start = untrained(task, seed=seed, pretrained=transformer)
    return expected_forecaster(start, quantizer, session, profile.forecast)
