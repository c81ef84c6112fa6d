"""Properties of the split, the smoothing, the z-score and the refusals."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nwb_writer import write_session

from calm.data import session as sessions
from calm.data.preparation import prepare, smooth, split_trials
from calm.data.recording import Recording
from calm.data.session import MIN_TRIALS
from calm.errors import CalmError

COUNTS = st.integers(MIN_TRIALS, 1000)
SEEDS = st.integers(0, 2**32 - 1)


def with_traces(session, change):
    """The session with `change(index, copy of trace)` as its traces."""
    traces = tuple(change(index, trace.copy()) for index, trace in enumerate(session.traces))
    return dataclasses.replace(session, traces=traces)


def put(neurons, frames, value):
    """A change of traces that writes `value` into some neurons and frames of the first trial."""

    def change(index, trace):
        if index == 0:
            trace[neurons, frames] = value
        return trace

    return change


@pytest.fixture
def raw(make_session):
    return make_session([18, 24, 31] * 5)


@given(COUNTS, SEEDS)
def test_split_is_70_15_15_and_leaves_no_part_empty(count, seed):
    labels = split_trials(count, seed)
    sizes = [labels.count(split) for split in sessions.SPLITS]
    assert sum(sizes) == len(labels) == count
    assert min(sizes) > 0
    np.testing.assert_allclose(sizes, np.array([0.7, 0.15, 0.15]) * count, atol=1)


@given(COUNTS, SEEDS)
def test_split_follows_from_the_seed(count, seed):
    assert split_trials(count, seed) == split_trials(count, seed)


def test_split_changes_with_the_seed():
    assert len({tuple(split_trials(100, seed)) for seed in range(20)}) == 20


def test_every_trial_is_equally_likely_in_every_part():
    labels = np.array([split_trials(20, seed) for seed in range(500)])
    standard_error = np.sqrt(0.7 * 0.3 / 500)
    np.testing.assert_allclose((labels == "train").mean(axis=0), 0.7, atol=4 * standard_error)


def test_parts_are_disjoint_and_complete(raw):
    prepared = prepare(raw, seed=3)
    parts = [prepared.trials_of(split) for split in sessions.SPLITS]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(raw.traces)))


def test_training_frames_have_mean_zero_and_sd_one(raw):
    prepared = prepare(raw, seed=0)
    frames = np.concatenate([prepared.traces[trial] for trial in prepared.trials_of("train")], axis=1)
    np.testing.assert_allclose(frames.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(frames.std(axis=1), 1, atol=1e-5)


def test_scale_is_undone_by_the_recorded_mean_and_sd(raw):
    prepared = prepare(raw, seed=0)
    mean, sd = (prepared.neurons[column].to_numpy()[:, None] for column in ("mean", "sd"))
    for trace, original in zip(prepared.traces, raw.traces, strict=True):
        np.testing.assert_allclose(trace * sd + mean, original, atol=1e-5)


def test_validation_and_test_trials_do_not_touch_the_scale(raw):
    before = prepare(raw, seed=0, smoothing=0.3)
    train = before.trials_of("train")
    changed = dataclasses.replace(
        with_traces(raw, lambda index, trace: trace if index in train else 100 + 7 * trace),
        behaviour=tuple(
            channels if index in train else 100 + 7 * channels for index, channels in enumerate(raw.behaviour)
        ),
    )
    after = prepare(changed, seed=0, smoothing=0.3)
    assert before.neurons.equals(after.neurons)
    for trial in train:
        np.testing.assert_array_equal(before.traces[trial], after.traces[trial])
        np.testing.assert_array_equal(before.behaviour[trial], after.behaviour[trial])


def test_missing_behaviour_stays_missing_and_does_not_touch_the_scale_of_the_rest(raw):
    holed = tuple(channels.copy() for channels in raw.behaviour)
    for channels in holed:
        channels[3, 1] = np.nan
    prepared = prepare(dataclasses.replace(raw, behaviour=holed), seed=0)
    frames = np.concatenate([prepared.behaviour[trial] for trial in prepared.trials_of("train")])
    np.testing.assert_allclose(np.nanmean(frames, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.nanstd(frames, axis=0), 1, atol=1e-5)
    assert all(np.array_equal(np.argwhere(np.isnan(channels)), [[3, 1]]) for channels in prepared.behaviour)


@given(st.floats(0.01, 1), st.integers(0, 9))
def test_impulse_decays_geometrically(weight, when):
    impulse = np.zeros((1, 10))
    impulse[0, when] = 1
    expected = [0.0] * when + [(weight if when else 1) * (1 - weight) ** age for age in range(10 - when)]
    np.testing.assert_allclose(smooth(impulse, weight)[0], expected, atol=1e-12)


@pytest.mark.parametrize("frame", range(1, 18))
def test_smoothing_is_causal(raw, frame):
    changed = raw.traces[0].copy()
    changed[:, frame:] += 1
    before, after = (smooth(trace, 0.15) for trace in (raw.traces[0], changed))
    np.testing.assert_array_equal(before[:, :frame], after[:, :frame])
    assert np.all(before[:, frame:] != after[:, frame:])


def test_smoothing_of_weight_one_changes_nothing(raw):
    np.testing.assert_array_equal(smooth(raw.traces[0], 1.0), raw.traces[0])


def test_smoothing_restarts_with_each_trial(raw):
    smoothed = with_traces(raw, lambda _, trace: smooth(trace, 0.15))
    for first, second in zip(
        prepare(raw, seed=0, smoothing=0.15).traces,
        prepare(smoothed, seed=0).traces,
        strict=True,
    ):
        np.testing.assert_array_equal(first, second)


def test_preparation_leaves_the_raw_session_as_it_is(raw):
    before = raw.fingerprint()
    prepare(raw, seed=0, smoothing=0.15)
    assert raw.fingerprint() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put([1, 3], [0, 5], np.nan), r"NaN or infinite values in 2 neurons \(1, 3\)"),
        (put([4], [2], np.inf), r"NaN or infinite values in 1 neuron \(4\)"),
        (
            put([0, 1, 2, 3, 4], [0] * 5, np.nan),
            "1 trials, the first of them 0, have frames that are NaN in all neurons",
        ),
        (lambda _, trace: np.where(np.arange(5)[:, None] == 2, 0.1, trace), r"no change at all in 1 neuron \(2\)"),
        (lambda index, trace: trace[:, : 11 if index == 6 else None], "trial 6 has 11 frames, .* need 12"),
        (lambda _, trace: trace[:0], "no neurons"),
    ],
)
def test_sessions_that_cannot_be_analysed_are_refused_by_name(raw, change, message):
    broken = with_traces(raw, change)
    broken = dataclasses.replace(broken, neurons=raw.neurons[: len(broken.traces[0])])
    with pytest.raises(CalmError, match=f"uneven.*{message}"):
        prepare(broken, seed=0, min_frames=12)


def test_long_lists_of_neurons_are_cut_in_messages():
    assert sessions.describe_neurons(np.array([3])) == "1 neuron (3)"
    assert sessions.describe_neurons(np.arange(5)) == "5 neurons (0, 1, 2, 3, 4)"
    assert sessions.describe_neurons(np.arange(6)) == "6 neurons (0, 1, 2, 3, 4, ...)"
    assert sessions.describe_neurons(np.arange(7)) == "7 neurons (0, 1, 2, 3, 4, ...)"


@pytest.mark.parametrize(("trials", "message"), [(0, "no trials"), (MIN_TRIALS - 1, "6 trials are too few")])
def test_too_few_trials_are_refused(make_session, trials, message):
    with pytest.raises(CalmError, match=message):
        prepare(make_session([20] * trials), seed=0)


def test_shortest_allowed_trial_is_accepted(raw):
    assert prepare(raw, seed=0, min_frames=18).frames.tolist() == raw.frames.tolist()


def test_a_trial_may_be_a_single_frame(make_session):
    raw = make_session([1, 20] * 8)
    sessions.validate(raw)
    assert prepare(raw, seed=0).frames.tolist() == [1, 20] * 8


def test_neurons_that_are_silent_in_training_only_are_refused(raw):
    train = prepare(raw, seed=0).trials_of("train")
    mute = np.arange(5)[:, None] == 2
    silent = with_traces(raw, lambda index, trace: np.where(mute & (index in train), 0.0, trace))
    with pytest.raises(CalmError, match=r"no change in the training trials in 1 neuron \(2\)"):
        prepare(silent, seed=0)


def test_behaviour_without_a_value_in_training_is_refused_by_name(raw):
    train = prepare(raw, seed=0).trials_of("train")
    holed = tuple(channels.copy() for channels in raw.behaviour)
    for trial in train:
        holed[trial][:, 1] = np.nan
    with pytest.raises(CalmError, match="yaw has no value in the training trials"):
        prepare(dataclasses.replace(raw, behaviour=holed), seed=0)


def test_dropping_bad_neurons_leaves_the_others_untouched(raw):
    broken = with_traces(raw, put([1, 3], [0, 5], np.nan))
    ((fault, bad),) = sessions.bad_neurons(broken).items()
    mended = sessions.drop_neurons(broken, bad)
    assert bad.tolist() == [1, 3] and fault.startswith("NaN")
    assert mended.neurons.to_dict() == {"neuron": {0: 0, 1: 2, 2: 4}}
    np.testing.assert_array_equal(mended.traces[0], raw.traces[0][[0, 2, 4]])
    sessions.validate(mended)


def test_fingerprint_is_that_of_the_content(raw, make_session):
    assert raw.fingerprint() == make_session([18, 24, 31] * 5).fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: with_traces(raw, lambda index, trace: np.nextafter(trace, 9) if index == 14 else trace),
        lambda raw: dataclasses.replace(raw, name="another"),
        lambda raw: dataclasses.replace(raw, traces=raw.traces[::-1]),
        lambda raw: dataclasses.replace(raw, traces=tuple(trace.reshape(-1, 5).T for trace in raw.traces)),
        lambda raw: dataclasses.replace(raw, trials=raw.trials.assign(split="train")),
    ],
)
def test_fingerprint_changes_with_data_name_and_split(raw, change):
    assert change(raw).fingerprint() != raw.fingerprint()


def test_fingerprint_changes_with_the_seed_of_the_split(raw):
    assert prepare(raw, seed=0).fingerprint() != prepare(raw, seed=1).fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"behaviour": ()}, "traces of 15 trials, behaviour of 0 and a table of 15"),
        ({"neurons": pd.DataFrame({"id": range(18)})}, r"trial 0 has traces \(5, 18\).*18 rows: transpose"),
    ],
)
def test_fields_that_do_not_belong_together_are_refused(raw, change, message):
    with pytest.raises(CalmError, match=message):
        prepare(dataclasses.replace(raw, **change), seed=0)


def test_a_recording_is_cut_at_the_edges_and_each_trial_knows_when_it_began():
    frames = np.arange(30.0)
    neurons = pd.DataFrame({"id": [7, 9]})
    recording = Recording("rec", "mouse", 10.0, np.stack([frames, -frames]), 5 + frames / 10, neurons, frames[:, None])
    session = sessions.cut(recording, pd.DataFrame({"cue": ["a", "b"]}), np.array([[2, 6], [10, 13]]))
    assert [trace.tolist() for trace in session.traces] == [
        [[2, 3, 4, 5], [-2, -3, -4, -5]],
        [[10, 11, 12], [-10, -11, -12]],
    ]
    assert [channels.tolist() for channels in session.behaviour] == [[[2], [3], [4], [5]], [[10], [11], [12]]]
    assert session.trials.to_dict("list") == {"cue": ["a", "b"], "first_frame_time": [5.2, 6.0]}
    assert (session.name, session.subject, session.rate, session.neurons is neurons) == ("rec", "mouse", 10.0, True)


@pytest.mark.parametrize(
    ("neurons", "names"),
    [
        (pd.DataFrame({"id": [4, 8]}), ["neuron 4", "neuron 8"]),
        (pd.DataFrame({"id": [4, 4]}), ["neuron 0", "neuron 1"]),
        (pd.DataFrame(index=[3, 5]), ["neuron 3", "neuron 5"]),
    ],
)
def test_neurons_are_named_by_their_id_if_it_is_theirs_alone(raw, neurons, names):
    assert dataclasses.replace(raw, neurons=neurons).neuron_names == names


def test_a_session_cannot_be_changed_and_is_itself_alone(raw):
    with pytest.raises(dataclasses.FrozenInstanceError):
        raw.name = "another"
    assert dataclasses.replace(raw) not in {raw} and raw in {raw}


def test_trials_of_one_group_stay_in_one_split(raw):
    groups = np.repeat([5, 3, 9, 1, 2, 8, 7, 0], 2)[:15]
    for seed in range(10):
        trials = prepare(dataclasses.replace(raw, trials=raw.trials.assign(split_group=groups)), seed=seed).trials
        assert len(trials[["split_group", "split"]].drop_duplicates()) == 8 and set(trials["split"]) == {
            *sessions.SPLITS
        }


def test_a_session_remembers_its_preparation_and_is_prepared_once(raw):
    prepared = prepare(raw, seed=3, smoothing=0.5)
    assert raw.preparation is None and prepared.preparation == sessions.Preparation(seed=3, smoothing=0.5)
    with pytest.raises(CalmError, match="uneven is prepared already"):
        prepare(prepared, seed=3)


def test_a_prepared_session_is_not_written_as_recorded(raw, tmp_path):
    with pytest.raises(CalmError, match="z-scores"):
        write_session(prepare(raw, seed=0), tmp_path / "a.nwb")


def test_a_trial_is_cut_after_its_context_and_after_the_horizon(raw):
    trials = np.array([2, 0])
    contexts, futures = sessions.cut_trials(raw, trials, 5)
    for trial, context, future in zip(trials, contexts, futures, strict=True):
        assert context.shape[1] == 5
        np.testing.assert_array_equal(np.concatenate([context, future], axis=1), raw.traces[trial])
    _, near = sessions.cut_trials(raw, trials, 5, horizon=3)
    for trial, future in zip(trials, near, strict=True):
        np.testing.assert_array_equal(future, raw.traces[trial][:, 5:8])


@pytest.mark.parametrize(
    ("rates", "odd"),
    [
        ([5.0], []),
        ([5.0, 5.0, 5.0], []),
        ([5.0, 8.0, 5.0], [1]),
        ([8.0, 5.0, 5.0, 6.0], [0, 3]),
        ([4.0, 2.0], [0]),
        ([4.0, 5.0, 5.0], [0]),
        ([100.0, 100.0, 101.0], []),  # a hundredth is no difference
    ],
)
def test_sessions_of_another_rate_than_most_are_named(raw, rates, odd):
    several = [dataclasses.replace(raw, name=f"s{place}", rate=rate) for place, rate in enumerate(rates)]
    sentence = sessions.odd_rates(several)
    assert bool(sentence) == bool(odd)
    assert all((f"s{place} (" in sentence) == (place in odd) for place in range(len(rates)))
    assert (", ".join(f"s{place} ({rates[place]:g})" for place in odd) + ": a decoder" in sentence) == bool(odd)


def test_rates_may_differ_by_rounding(raw):
    assert not sessions.odd_rates([raw, dataclasses.replace(raw, rate=raw.rate * (1 + sessions.SAME_RATE / 2))])
    assert sessions.odd_rates([raw, dataclasses.replace(raw, rate=raw.rate * (1 - sessions.SAME_RATE * 2))])


def test_sessions_share_their_behaviours_or_are_refused_by_name(raw):
    known = prepare(raw, seed=0)
    assert sessions.shared_behaviours([known, known]) == known.behaviour_names
    other = dataclasses.replace(
        known, name="other", behaviour_names=tuple(f"{name}2" for name in known.behaviour_names)
    )
    with pytest.raises(CalmError, match=r"session other has .*2: train a decoder for each"):
        sessions.shared_behaviours([known, other])
    none = [np.empty((frames, 0), np.float32) for frames in known.frames]
    with pytest.raises(CalmError, match=f"{known.name} has no behaviour to decode"):
        sessions.shared_behaviours([dataclasses.replace(known, behaviour=none, behaviour_names=())])


@pytest.mark.parametrize("split", ["train", "val"])
def test_behaviour_must_have_been_recorded_to_train_on_and_to_validate_with(raw, split):
    known = prepare(raw, seed=0)
    behaviour = [each.copy() for each in known.behaviour]
    for trial in known.trials_of(split):
        behaviour[trial][:] = np.nan
    with pytest.raises(CalmError, match=f"no behaviour was recorded in its {split} trials"):
        sessions.shared_behaviours([dataclasses.replace(known, behaviour=behaviour)])
    behaviour[known.trials_of(split)[0]][0] = 1.0  # a single frame is enough
    assert sessions.shared_behaviours([dataclasses.replace(known, behaviour=behaviour)])


@pytest.mark.parametrize("artefacts", [1, 5, 16])
@pytest.mark.parametrize("offset", [0.0, 500.0])
def test_a_few_frames_stand_out_if_they_are_ten_thousand_times_as_far_as_all_others(artefacts, offset):
    trace = np.tile([-1.0, 0.0, 1.0], 200)
    for factor, stands_out in ((1.01, True), (1.0, False), (0.99, False)):
        odd = trace.copy()
        odd[:artefacts] = factor * sessions.JUMP
        assert sessions.stands_out(offset + odd) == sessions.stands_out(offset - odd) == stands_out


def test_seventeen_frames_that_are_far_from_all_others_are_activity():
    trace = np.tile([-1.0, 0.0, 1.0], 200)
    trace[100:117] = 2 * sessions.JUMP
    assert not sessions.stands_out(trace)


def test_frames_that_rise_step_by_step_do_not_stand_out():
    trace = np.tile([-1.0, 0.0, 1.0], 200)
    trace[:4] = sessions.JUMP ** np.array([0.5, 1.0, 1.5, 2.0])
    assert not sessions.stands_out(trace)


def test_where_most_frames_are_alike_no_other_stands_out():
    sparse = np.zeros(60)
    sparse[7] = 1e6  # the median distance is zero: a single transient, not an artefact
    assert not sessions.stands_out(sparse) and not sessions.stands_out(np.zeros(3))
    sparse[20:23] = 1.0  # next to other transients it is one
    assert sessions.stands_out(sparse)
