"""All methods of Figure 3 behind one interface: the same trials, the same tries, their scores and costs as rows."""

import numpy as np
import pytest
import torch

from calm.baselines.linear import MeanTrial
from calm.config.fitting import ForecastConfig
from calm.data.preparation import prepare
from calm.data.session import cut_trials
from calm.metrics import correlation_over_time
from calm.models.finetuning import TraceTransformer
from calm.models.transformer import DualAxisTransformer
from calm.paper.claims.table import CLAIMS
from calm.paper.experiments.forecasting import (
    forecast_trials,
    rival_tasks,
    score_fading,
    score_forecasts,
    score_to_the_end,
    train_groups,
    train_on_one,
)
from calm.paper.experiments.methods import MethodSet, add_costs
from calm.paper.results import FINE_TUNED, Results
from calm.profile import load_profile
from calm.recordings import Recordings
from calm.synthetic.simulation import simulate
from calm.training.tasks import train_quantizer

CONTEXT = 40
NETWORKS = [*CLAIMS[1].tests[0]["rivals"], "continuous patches"]


@pytest.fixture(scope="module")
def smoke():
    """With two tries for every network."""
    return load_profile("smoke").changed(learning_rates=(0.5, 1.0))


@pytest.fixture(scope="module")
def session(smoke):
    return prepare(simulate(smoke.simulation, 0).session, seed=0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def trained(session, smoke, runs):
    return train_on_one(session, smoke, seed=0, runs=runs)


def test_every_method_forecasts_every_frame_after_the_context(trained, session, smoke):
    trials = session.trials_of("test")
    forecasts = forecast_trials(trained, session, trials, smoke.forecast)
    _, futures = cut_trials(session, trials, CONTEXT)
    assert {method for method, _ in forecasts} == {
        "persistence",
        "decay",
        "mean trial",
        "ridge VAR",
        "CalM",
        FINE_TUNED,
        *NETWORKS,
    }
    for method, predicted in forecasts.items():
        assert [forecast.shape for forecast in predicted] == [future.shape for future in futures], method
        assert all(np.isfinite(forecast).all() for forecast in predicted), method
        assert trained.seconds[method] > 0


def test_every_network_gets_the_same_number_of_tries(trained):
    assert {method for method, _ in trained.searches} == {*NETWORKS, "CalM", FINE_TUNED}
    for method, search in trained.searches.items():
        assert len({tried.key for tried in search.tries.values()}) == 2, method
        assert search.chosen.score == max(tried.score for tried in search.tries.values()), method
        assert search.seconds > search.chosen.seconds > 0


def test_calm_is_as_before_beside_its_fine_tuned_variant(trained):
    kept, tuned = (trained.searches[name, ""].chosen.model.state_dict() for name in ("CalM", FINE_TUNED))
    before, after = (trained.methods[name].model for name in (("CalM", "expected"), (FINE_TUNED, "")))
    for model, state in ((before, kept), (after, tuned)):
        assert all(torch.equal(weight, state[name]) for name, weight in model.state_dict().items())
    assert type(before) is DualAxisTransformer and type(after) is TraceTransformer
    first, best = (trained.searches[name, ""].chosen.score for name in ("CalM", FINE_TUNED))
    assert best >= first - 1e-6  # what it began with is kept unless it gets better


def test_costs_count_what_was_trained(trained, session, smoke, runs):
    costs, neurons = trained.costs, len(session.neurons)
    assert costs["persistence", ""]["parameters"] == 0
    assert costs["decay", ""]["parameters"] == 2 * neurons
    order = trained.methods["ridge VAR", ""].order
    assert costs["ridge VAR", ""]["parameters"] == order * neurons**2 + neurons
    quantizer = train_quantizer([session], smoke, seed=0, runs=runs)
    transformers = trained.searches["CalM", ""]
    assert costs["CalM", ""]["parameters"] == quantizer.parameters + transformers.chosen.parameters
    assert costs["CalM", ""]["training (s)"] == quantizer.seconds + transformers.chosen.seconds
    assert costs["CalM", ""]["search (s)"] == quantizer.seconds + transformers.seconds
    tuned, sizes = trained.searches[FINE_TUNED, ""], [costs[name, ""]["parameters"] for name in ("CalM", FINE_TUNED)]
    assert sizes[0] == sizes[1]
    assert costs[FINE_TUNED, ""]["search (s)"] == pytest.approx(costs["CalM", ""]["search (s)"] + tuned.seconds)
    assert costs["POCO", ""]["search (s)"] == trained.searches["POCO", ""].seconds


def test_cost_rows_name_the_trials_and_the_tries(trained, session):
    results = Results("simulation", seed=0)
    trained.seconds = {("CalM", "greedy"): 0.25}
    add_costs(results, trained, session, item="fig3b", task="forecast", trials=4)
    rows = results.table("fig3b_cost").set_index(["method", "variant", "metric"])
    assert rows.loc[("CalM", "greedy", "forecast of a trial (ms)"), ["value", "n"]].tolist() == [250, 4]
    assert rows["value"]["TCN", "", "parameters"] == trained.costs["TCN", ""]["parameters"]
    for rate, tried in trained.searches["TCN", ""].tries.items():
        assert rows["value"]["TCN", f"learning rate {rate:.2g}", "validation corr of a try"] == tried.score


def test_held_out_sessions_get_the_learning_rate_of_the_held_in_ones(session, smoke, runs):
    other = prepare(simulate(smoke.simulation, 1).session, seed=0)
    sessions = {"held-in": [session], "held-out": [other]}
    tasks = {group: rival_tasks(each, smoke)["POCO"] for group, each in sessions.items()}
    both = train_groups(tasks, smoke.learning_rates, seed=0, runs=runs)
    kept, adapted = (dict(both[group].model.named_parameters()) for group in ("held-in", "held-out"))
    frozen = [name for name, parameter in adapted.items() if not parameter.requires_grad]
    assert frozen and all((kept[name] == adapted[name]).all() for name in frozen)
    assert set(train_groups({"held-in": tasks["held-in"]}, (1.0,), seed=0, runs=runs)) == {"held-in"}


@pytest.fixture
def results(session):
    """Scores of a perfect forecast and of none."""
    trials, config = session.trials_of("test"), ForecastConfig(context=CONTEXT)
    _, futures = cut_trials(session, trials, CONTEXT)
    forecasts = {("truth", ""): futures, ("zero", ""): [0 * future for future in futures]}
    results = Results("simulation", seed=0)
    score_forecasts(results, forecasts, session, trials, config, item="fig3b", group="held-in")
    score_fading(results, forecasts, session, trials, config, item="fig3b")
    return results


def test_scores_are_means_over_trials_and_perfect_forecasts_score_one(results, session):
    trials = session.trials_of("test")
    _, futures = cut_trials(session, trials, CONTEXT)
    rows = results.table("fig3b")
    values = rows.set_index(["method", "metric"])["value"]
    assert values["truth", "corr"] == pytest.approx(1) and values["truth", "mse"] == 0
    assert values["zero", "corr"] == 0
    assert values["truth", "POCO's score"] == 1 > values["zero", "POCO's score"]
    assert values["zero", "mse"] == pytest.approx(np.mean([np.square(future).mean() for future in futures]))
    assert set(rows["group"]) == {"held-in"} and set(rows["variant"]) == {""} and set(rows["split"]) == {"test"}
    assert sorted(results.table("fig3b_trials").query("method == 'truth'")["trial"]) == sorted(trials)


def test_fading_has_a_row_for_each_frame_after_the_context(results, session):
    _, futures = cut_trials(session, session.trials_of("test"), CONTEXT)
    fading = results.table("fig3b_fading")
    rows = fading.query("method == 'truth'")
    np.testing.assert_allclose(rows["seconds"], np.arange(1, futures[0].shape[1] + 1) / session.rate)
    np.testing.assert_allclose(rows["value"], correlation_over_time(futures, futures))
    assert (fading.query("method == 'zero'")["value"] == 0).all()


def test_forecasts_go_to_the_end_of_every_trial_but_those_of_a_fixed_horizon(make_session, smoke):
    lengths = [40, *range(47, 53)] * 10  # of which those of 40 frames end with the context
    session = prepare(make_session(lengths), seed=0)
    profile = smoke.changed(forecast=ForecastConfig(context=CONTEXT, horizon=3))
    recordings, results = Recordings("made", [session], [], profile), Results("made", seed=0)
    trained = MethodSet({(name, ""): MeanTrial().fit(session) for name in ("fixed", "free")})
    score_to_the_end(results, trained, recordings, session, fixed=[("fixed", "")], item="fig3d", group="held-in")
    rows = results.table("fig3d_fading").set_index("method")
    beyond = session.frames[session.trials_of("test")] - CONTEXT
    assert rows.loc["fixed", "n"].tolist() == [(beyond > lag).sum() for lag in range(3)]
    assert rows.loc["free", "n"].tolist() == [(beyond > lag).sum() for lag in range(beyond.max())]
    np.testing.assert_array_equal(rows.loc["fixed", "value"], rows.loc["free", "value"][:3])
    assert set(rows["split"]) == {"test"} and set(rows["group"]) == {"held-in"}


def test_a_profile_is_shortened_to_a_share_of_the_steps_and_as_many_validations():
    profile = load_profile("smoke")
    usual, short = profile.dat_fit, profile.shortened(0.5).dat_fit
    assert (short.steps, short.validate_every) == (usual.steps / 2, usual.validate_every / 2)
    assert short.learning_rate == usual.learning_rate
    assert profile.shortened(1.0) == profile
    assert (profile.shortened(1e-6).dat_fit.steps, profile.shortened(1e-6).dat_fit.validate_every) == (1, 1)
