"""What recordings that training never saw are like, and how many of their trials it takes to forecast them."""

import numpy as np
import pytest

from calm.baselines.validation import compared_trials
from calm.config.synthetic import SimulationConfig
from calm.data.preparation import prepare
from calm.metrics import trial_correlation
from calm.paper.experiments.coverage import LAGS, RATE, SKEWNESS, describe_traces, score_coverage
from calm.paper.experiments.forecasting import expected_forecaster
from calm.paper.experiments.transfer import ADAPTED, SHIPPED, score_few_trials, unadapted
from calm.paper.plots.transfer import coverage_dots, few_trials
from calm.paper.results import Results, check
from calm.profile import load_profile
from calm.synthetic.simulation import simulate
from calm.training.decoding import with_share
from calm.training.stages import train
from calm.training.tasks import QuantizerTask, TransformerTask
from calm.weights.pretrained import Pretrained


def autoregressive(kept, *, neurons=3, trials=10, frames=2000):
    """Trials of a first-order autoregression, whose correlation over k frames is `kept` to the power of k."""
    traces = np.random.default_rng(0).normal(size=(trials, neurons, frames))
    for frame in range(1, frames):
        traces[..., frame] = kept * traces[..., frame - 1] + np.sqrt(1 - kept**2) * traces[..., frame]
    return tuple(traces)


def test_a_recording_is_described_by_what_it_was_made_with(make_session):
    session = make_session([20] * 10)
    object.__setattr__(session, "traces", autoregressive(0.8))
    numbers = describe_traces(session)
    assert [numbers[name] for name in LAGS] == pytest.approx([0.8, 0.8**4], abs=0.02)
    assert numbers[RATE] == session.rate and numbers[SKEWNESS] == pytest.approx(0, abs=0.05)
    object.__setattr__(session, "traces", tuple(np.random.default_rng(0).exponential(size=(10, 3, 2000))))
    assert describe_traces(session)[SKEWNESS] == pytest.approx(2, abs=0.15)


@pytest.fixture(scope="module")
def profile():
    """Trainings of four steps."""
    smoke, once = load_profile("smoke"), {"steps": 4, "validate_every": 2}
    fits = {name: getattr(smoke, name).changed(**once) for name in ("quantizer_fit", "dat_fit", "poco_fit")}
    return smoke.changed(**fits, forecast=smoke.forecast.changed(horizon=24))


@pytest.fixture(scope="module")
def case(profile, tmp_path_factory):
    """A new session, the stages that another was trained on, and the rows of few trials."""
    runs, config = tmp_path_factory.mktemp("runs"), SimulationConfig(trials=16, neurons=6, frames=64)
    old, new = (prepare(simulate(config, seed).session, seed=0) for seed in (0, 1))
    quantizer = train(QuantizerTask([old], profile.quantizer), profile.quantizer_fit, seed=0, runs=runs)
    task = TransformerTask(quantizer, [old], profile.dat, profile.forecast)
    transformer, another = (train(task, profile.dat_fit, seed=seed, runs=runs) for seed in (0, 1))
    others, results = (quantizer, transformer), Results("made", 0)
    weights = Pretrained({}, quantizer, another, {})
    score_few_trials(results, new, profile, [0, 2, 99], others=others, weights=weights, runs=runs)
    return new, others, results.table("transfer"), runs


def test_there_are_rows_for_each_number_of_trials_and_for_all(case):
    new, _, table, _ = case
    check(table, "transfer")
    every = len(new.trials_of("train"))
    scores = table[table["metric"] == "corr"]
    assert set(scores["trials"]) == {0, 2, every}
    untrained = scores[scores["trials"] == 0]
    assert list(zip(untrained["method"], untrained["variant"], strict=True)) == [ADAPTED, SHIPPED]
    methods = {ADAPTED, SHIPPED, ("CalM", "from scratch"), ("POCO", "from scratch"), ("ridge VAR", "")}
    for count in (2, every):
        rows = scores[scores["trials"] == count]
        assert methods < set(zip(rows["method"], rows["variant"], strict=True))
    assert set(scores["n"]) == {len(new.trials_of("test"))}


def test_adapted_to_all_trials_it_is_the_adapted_transformer_and_to_none_another(case, profile):
    new, (quantizer, transformer), table, runs = case
    task, before = TransformerTask(quantizer, [new], profile.dat, profile.forecast), set(runs.iterdir())
    adapted = train(task, profile.dat_fit, seed=0, runs=runs, pretrained=transformer)
    assert set(runs.iterdir()) == before  # found again
    forecaster, trials = (
        expected_forecaster(adapted, quantizer, new, profile.forecast),
        compared_trials(new, "test", profile.forecast),
    )
    contexts, futures = zip(*((new.traces[trial][:, :40], new.traces[trial][:, 40:]) for trial in trials), strict=True)
    expected = np.mean(list(map(trial_correlation, futures, forecaster.forecast(contexts, [24] * len(trials)))))
    rows = table[(table["metric"] == "corr") & (table["variant"] == "adapted")].set_index("trials")["value"]
    assert rows.iloc[-1] == pytest.approx(expected) and rows[0] != pytest.approx(expected)
    shipped = table[(table["metric"] == "corr") & (table["variant"] == SHIPPED[1])].set_index("trials")["value"]
    assert not np.isclose(shipped, rows).any()  # the weights of another seed


def test_with_no_trials_nothing_of_the_session_is_known(case, profile):
    new, others, _, _ = case
    context = [new.traces[new.trials_of("test")[0]][:, :40]]
    forecasts = []
    for seed in (0, 1):  # other training trials
        few = with_share(new, 1 / len(new.trials_of("train")), seed=seed)
        forecasts.append(unadapted(few, profile, others, seed=0).forecast(context, [24])[0])
    assert profile.dat.loadings > 0 and np.array_equal(*forecasts)


def test_lines_and_dots_are_those_of_the_tables(case, make_session, drawing):
    import matplotlib.pyplot as plt

    _, _, table, _ = case
    scores = table[table["metric"] == "corr"]
    _, axes = plt.subplots(1, 2)
    few_trials(axes[0], scores, "r")
    drawn = {line.get_label(): line.get_xydata() for line in axes[0].lines}
    np.testing.assert_allclose(
        drawn["CalM, adapted"], scores.loc[scores["variant"] == "adapted", ["trials", "value"]].to_numpy(float)
    )
    results, sessions = Results("made", 0), [make_session([20] * 8, name=name) for name in ("a", "b")]
    score_coverage(results, {"corpus": sessions, "mine": sessions[:1]})
    coverage_dots(axes[1], results.table("coverage"), RATE, SKEWNESS)
    assert {line.get_label(): len(line.get_xdata()) for line in axes[1].lines} == {"corpus": 2, "mine": 1}
