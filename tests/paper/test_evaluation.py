"""All methods of Figure 3 behind one interface: the same trials, the same tries, their scores and costs as rows."""

import numpy as np
import pytest

from calm.config import ForecastConfig
from calm.data.session import cut_trials, prepare
from calm.metrics import correlation_over_time
from calm.paper.claims.claims import RIVALS
from calm.paper.experiments.evaluation import (
    calm_cost,
    calm_forecasters,
    forecast_trials,
    linear_forecasters,
    rival_forecasters,
    search_rivals,
)
from calm.paper.experiments.scores import ForecastScores
from calm.paper.results import TRY
from calm.profile import load_profile
from calm.synthetic.network import simulate
from calm.training.stages import search, train
from calm.training.tasks import QuantizerTask, TransformerTask

CONTEXT = 40


@pytest.fixture(scope="module")
def smoke():
    return load_profile("smoke")


@pytest.fixture(scope="module")
def session(smoke):
    return prepare(simulate(smoke.simulation, 0).session, seed=0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def stages(session, smoke, runs):
    """Quantizer, and the searches of the transformer and of the rivals."""
    quantizer = train(QuantizerTask([session], smoke.quantizer), smoke.quantizer_fit, seed=0, runs=runs)
    task = TransformerTask(quantizer, [session], smoke.dat, smoke.forecast)
    transformers = search(task, smoke.dat_fit, smoke.learning_rates, seed=0, runs=runs)
    return quantizer, transformers, search_rivals(session, smoke, seed=0, runs=runs)


@pytest.fixture(scope="module")
def methods(stages, session, smoke):
    """All forecasters and costs."""
    quantizer, transformers, rivals = stages
    linear, costs = linear_forecasters(session, smoke)
    networks, network_costs = rival_forecasters(rivals, session, smoke)
    calm = calm_forecasters(transformers.chosen.model, quantizer.model, session, smoke)
    return {**linear, **networks, **calm}, {**costs, **network_costs, "CalM": calm_cost(quantizer, transformers)}


def test_every_method_forecasts_every_frame_after_the_context(methods, session, smoke):
    trials = session.trials_of("test")
    found, seconds = forecast_trials(methods[0], session, trials, smoke.forecast)
    _, futures = cut_trials(session, trials, CONTEXT)
    assert {method for method, _ in found} == {"persistence", "decay", "mean trial", "ridge VAR", "CalM", *RIVALS}
    for label, forecasts in found.items():
        assert [forecast.shape for forecast in forecasts] == [future.shape for future in futures], label
        assert all(np.isfinite(forecast).all() for forecast in forecasts), label
        assert seconds[label] > 0


def test_every_network_gets_the_same_number_of_tries(stages, smoke):
    _, transformers, rivals = stages
    searches = {**rivals, "CalM": transformers}
    assert set(searches) == {*RIVALS, "CalM"}
    for name, found in searches.items():
        assert len({tried.key for tried in found.tries.values()}) == len(smoke.learning_rates) == 2, name
        assert found.chosen.score == max(tried.score for tried in found.tries.values()), name
        assert found.seconds > found.chosen.seconds > 0


def test_costs_count_what_was_trained(stages, methods, session):
    quantizer, transformers, rivals = stages
    costs, neurons = methods[1], len(session.neurons)
    assert costs["persistence"].parameters == 0
    assert costs["decay"].parameters == 2 * neurons
    assert costs["ridge VAR"].parameters == methods[0]["ridge VAR", ""].order * neurons**2 + neurons
    assert costs["CalM"].parameters == sum(
        parameter.numel()
        for model in (quantizer.model, transformers.chosen.model)
        for parameter in model.parameters()
        if parameter.requires_grad
    )
    assert costs["CalM"].search - costs["CalM"].seconds == pytest.approx(
        transformers.seconds - transformers.chosen.seconds
    )
    assert costs["POCO"].search == pytest.approx(rivals["POCO"].seconds)


def test_cost_rows_name_the_trials_and_the_tries(stages, methods, session):
    _, transformers, rivals = stages
    scores = ForecastScores("fig3b", "simulation", 0, ForecastConfig(context=CONTEXT))
    scores.add_costs(session, 4, methods[1], {("CalM", "greedy"): 0.25})
    scores.add_tries(session, {**rivals, "CalM": transformers})
    table = scores.cost_table().set_index(["method", "variant", "metric"])["value"]
    assert table["CalM", "greedy", "forecast of a trial (ms)"] == 250
    assert table["TCN", "", "parameters"] == methods[1]["TCN"].parameters
    for rate, tried in rivals["TCN"].tries.items():
        assert table["TCN", f"learning rate {rate:.2g}", TRY] == tried.score
    assert set(scores.cost_table()["item"]) == {"fig3b_cost"}


@pytest.fixture
def scores(session):
    """Scores of a perfect forecast and of none."""
    trials = session.trials_of("test")
    _, futures = cut_trials(session, trials, CONTEXT)
    scores = ForecastScores("fig3b", "simulation", 0, ForecastConfig(context=CONTEXT))
    forecasts = {("truth", ""): futures, ("zero", ""): [0 * future for future in futures]}
    scores.add(session, trials, forecasts, group="g")
    return scores


def test_scores_are_means_over_trials_and_perfect_forecasts_score_one(scores, session):
    trials = session.trials_of("test")
    _, futures = cut_trials(session, trials, CONTEXT)
    table = scores.table().set_index(["method", "metric"])["value"]
    assert table["truth", "corr"] == pytest.approx(1) and table["truth", "mse"] == 0
    assert table["zero", "corr"] == 0 and table["zero", "mse"] == pytest.approx(
        np.mean([np.square(future).mean() for future in futures])
    )
    assert set(scores.table()["variant"]) == {"g"} and set(scores.table()["split"]) == {"test"}
    assert sorted(scores.trial_table().query("method == 'truth'")["trial"]) == sorted(trials)


def test_fading_has_a_row_for_each_frame_after_the_context(scores, session):
    _, futures = cut_trials(session, session.trials_of("test"), CONTEXT)
    rows = scores.fading_table().query("method == 'truth'")
    np.testing.assert_allclose(rows["seconds"], np.arange(1, futures[0].shape[1] + 1) / session.rate)
    np.testing.assert_allclose(rows["value"], correlation_over_time(futures, futures))
    assert (scores.fading_table().query("method == 'zero'")["value"] == 0).all()


def test_networks_of_one_recording_take_more_epochs_and_validate_as_often():
    profile = load_profile("smoke").model_copy(update={"single_epochs": 3})
    usual, single = profile.dat_fit, profile.of_one_recording().dat_fit
    assert (single.epochs, single.validate_every) == (3 * usual.epochs, 3 * usual.validate_every)
    assert single.learning_rate == usual.learning_rate
    assert load_profile("smoke").of_one_recording() == load_profile("smoke")
