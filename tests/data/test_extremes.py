"""Traces of any scale and offset are prepared alike; those that cannot be are refused by neuron, never believed."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from nwb_files import add_traces, add_trials, new_file, random_traces, save
from pynwb import TimeSeries

from calm.data.preparation import prepare, to_unit
from calm.data.readers.nwb_series import in_units
from calm.data.reading import load_sessions
from calm.data.session import validate
from calm.errors import CalmError

SECONDS = [(float(second), second + 1.0) for second in range(10)]


@pytest.fixture
def raw(make_session):
    return make_session([18, 24, 31] * 5)


def changed(session, change):
    """The session with a function of its traces."""
    return dataclasses.replace(session, traces=tuple(map(change, session.traces)))


def with_value(session, neuron, value, trials=(0,)):
    """The session with a value in the third frame of a neuron in some trials."""
    traces = [trace.copy() for trace in session.traces]
    for trial in trials:
        traces[trial][neuron, 2] = value
    return dataclasses.replace(session, traces=tuple(traces))


def joined(session):
    """All traces one behind the other."""
    return np.concatenate(session.traces, axis=1)


@pytest.mark.parametrize(("scale", "constant"), [(1.0, 1e-6), (1e-3, 1e-6), (2e-4, 0.0)])
def test_traces_are_scaled_in_single_precision_with_the_authors_constant_unless_it_is_large(raw, scale, constant):
    traces = changed(raw, lambda trace: (scale * trace).astype(np.float32))
    prepared = prepare(traces, seed=0)
    train = np.concatenate([traces.traces[trial] for trial in prepared.trials_of("train")], axis=1)
    mean, sd = train.mean(axis=1, keepdims=True), train.std(axis=1, keepdims=True) + np.float32(constant)
    np.testing.assert_array_equal(joined(prepared), (joined(traces) - mean) / sd)
    assert prepared.neurons["sd"].dtype == np.float32


@pytest.mark.parametrize("scale", [1e-60, 1e-12, 1e-6, 1e20, 1e30, 1e90])
def test_traces_of_any_scale_are_prepared_alike(raw, scale):
    prepared = prepare(changed(raw, lambda trace: trace * scale), seed=0, smoothing=0.5)
    np.testing.assert_allclose(joined(prepared), joined(prepare(raw, seed=0, smoothing=0.5)), atol=1e-5)
    (trace,) = to_unit(prepared.neurons, [prepared.traces[0]], "original")
    np.testing.assert_allclose(trace[:, 0], raw.traces[0][:, 0] * scale, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e20, 1e30])
def test_so_are_those_in_single_precision(raw, scale):
    prepared = prepare(changed(raw, lambda trace: (trace * scale).astype(np.float32)), seed=0)
    np.testing.assert_allclose(joined(prepared), joined(prepare(raw, seed=0)), atol=1e-5)


@pytest.mark.parametrize("offset", [1e8, -3e7])
def test_a_large_offset_costs_nothing_in_double_precision_and_is_refused_in_single(raw, offset):
    prepared = prepare(changed(raw, lambda trace: trace + offset), seed=0)
    np.testing.assert_allclose(joined(prepared), joined(prepare(raw, seed=0)), atol=1e-3)
    with pytest.raises(CalmError, match=r"less change beside their offset than float32 resolves in 5 neurons"):
        prepare(changed(raw, lambda trace: (trace + offset).astype(np.float32)), seed=0)


@pytest.mark.parametrize(
    ("data", "clock"),
    [
        (random_traces(), {"conversion": 1e30}),
        (random_traces().astype(float) * 1e40, {"conversion": 1e-10}),
        (random_traces().astype(float) * 1e40, {"conversion": 1e-40}),
        (random_traces().astype(float) + 1e8, {}),
        (random_traces().astype(float) + 1e8, {"offset": -1e8}),
        (random_traces().astype(float), {"offset": 1e8}),
        (random_traces() * np.float32(1e-6), {}),
    ],
)
def test_files_of_any_scale_are_prepared_alike(tmp_path, data, clock):
    sessions = []
    for name, values, numbers in (("plain", random_traces(), {}), ("odd", data, clock)):
        nwb = new_file(session_id=name)
        add_traces(nwb, values, rate=10.0, starting_time=0.05, **numbers)
        add_trials(nwb, SECONDS)
        sessions += load_sessions(str(save(nwb, tmp_path / f"{name}.nwb")))
    plain, odd = (prepare(session, seed=0) for session in sessions)
    assert {trace.dtype for trace in odd.traces} == {np.dtype(np.float32)}
    np.testing.assert_allclose(joined(odd), joined(plain), atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, -2.0, 1e30])
@pytest.mark.parametrize("data", [random_traces(), (1000 * random_traces()).astype(np.int16), np.empty((0, 6))])
def test_a_series_is_read_in_its_unit_without_a_copy_in_double_precision(data, scale):
    data = np.tile(data, (500, 1))
    series = TimeSeries("series", data=data, unit="a", rate=1.0, conversion=scale, offset=3.0)
    tracemalloc.start()
    values = in_units(series, slice(None))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(values, data * scale + 3, rtol=1e-5, atol=1e-5 * scale**2)
    assert values.dtype == (float if scale > 1e15 and len(data) else np.float32)
    assert most < 1.2 * values.nbytes + 100_000


@pytest.mark.parametrize("value", [3e38, -1e6, 1e100])
@pytest.mark.parametrize("trials", [(0,), range(15)])
def test_frames_that_dwarf_all_others_are_refused_by_neuron(raw, value, trials):
    with pytest.raises(CalmError, match=r"10,000 times as far from the median as all others in 1 neuron \(2\)"):
        prepare(with_value(raw, 2, value, trials), seed=0)


def test_a_neuron_with_a_single_transient_is_none_of_them(raw):
    quiet = changed(raw, lambda trace: np.where(np.arange(5)[:, None] == 2, 0.0, trace))
    validate(with_value(quiet, 2, 1.0))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e200])
def test_what_is_not_finite_is_refused_by_neuron(raw, value):
    with pytest.raises(CalmError, match=r"NaN or infinite values in 1 neuron \(4\)"):
        prepare(with_value(raw, 4, value), seed=0)


@pytest.mark.parametrize("split", ["val", "test"])
def test_neurons_that_are_still_in_trials_that_are_scored_are_told(raw, split):
    quiet = prepare(raw, seed=0).trials_of(split)
    traces = [trace * (1 - np.eye(5)[3][:, None] * (index in quiet)) for index, trace in enumerate(raw.traces)]
    with pytest.warns(UserWarning, match=rf"no change in the {split} trials in 1 neuron \(3\): .* scores 0"):
        prepare(dataclasses.replace(raw, traces=tuple(traces)), seed=0)


@pytest.mark.parametrize(
    ("value", "trials", "message"),
    [
        (np.inf, [7], "yaw is infinite in trial 7: write NaN"),
        (0.5, range(15), "yaw never changes in the training trials: leave it out of `behaviour`"),
        (np.nan, range(15), "yaw has no value in the training trials"),
    ],
)
def test_behaviour_that_nothing_can_be_learned_of_is_refused_by_name(raw, value, trials, message):
    channels = [each.copy() for each in raw.behaviour]
    for trial in trials:
        channels[trial][:, 1] = value
    with pytest.raises(CalmError, match=f"Session uneven: {message}"):
        prepare(dataclasses.replace(raw, behaviour=tuple(channels)), seed=0)


def test_a_single_infinite_value_of_behaviour_is_enough(raw):
    channels = [each.copy() for each in raw.behaviour]
    channels[7][3, 1] = -np.inf
    with pytest.raises(CalmError, match="Session uneven: yaw is infinite in trial 7"):
        validate(dataclasses.replace(raw, behaviour=tuple(channels)))


@pytest.mark.parametrize("scale", [1e-9, 1e30])
def test_behaviour_of_any_scale_is_prepared_alike(raw, scale):
    scaled = dataclasses.replace(raw, behaviour=tuple(channels * scale for channels in raw.behaviour))
    for one, other in zip(prepare(scaled, seed=0).behaviour, prepare(raw, seed=0).behaviour, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_all_behaviour_without_a_scale_is_named(raw):
    still = tuple(np.ones_like(channels) for channels in raw.behaviour)
    with pytest.raises(CalmError, match="pitch, yaw never changes"):
        prepare(dataclasses.replace(raw, behaviour=still), seed=0)


def test_scores_come_in_two_units(raw):
    prepared = prepare(raw, seed=0)
    for unit, expected in (("z-score", prepared.traces), ("original", raw.traces)):
        found = to_unit(prepared.neurons, prepared.traces, unit)
        assert all(np.allclose(*pair, atol=1e-5) for pair in zip(found, expected, strict=True))
    with pytest.raises(CalmError, match="no unit 'dF/F': choose 'z-score' or 'original'"):
        to_unit(prepared.neurons, prepared.traces, "dF/F")


@pytest.mark.parametrize("smoothing", [np.nan, -1.0, 0.0, 1.5, np.inf])
def test_a_smoothing_that_is_no_weight_is_refused(raw, smoothing):
    with pytest.raises(CalmError, match=rf"A `smoothing` of {smoothing} is no weight"):
        prepare(raw, seed=0, smoothing=smoothing)
