"""Series brought to the frames of a recording: sums of events, means of states and samples, NaN where nothing was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calm.data.resampling import exposures, guess_kind, same_clock, to_frames

CLOCK = (np.arange(400) + 0.5) / 10  # 40 s at 10 Hz
STEPS = st.lists(st.sampled_from([0.09, 0.1, 0.1, 0.12, 0.31, 3.0]), min_size=3, max_size=60)
EVENTS = st.lists(st.tuples(st.floats(-1, 20), st.integers(1, 5)), max_size=60)


def column(values) -> np.ndarray:
    return np.asarray(values, float)[:, None]


def test_events_are_counted_in_the_frame_that_they_happen_in():
    licks = [1.01, 1.02, 1.09, 1.11, 30.0, 99.0]
    counts = to_frames(np.array(licks), column(np.ones(6)), CLOCK, "events")[:, 0]
    assert {frame: counts[frame] for frame in np.flatnonzero(counts)} == {10: 3, 11: 1, 300: 1}


@given(events=EVENTS, steps=STEPS, seed=st.integers(0, 99))
def test_order_and_splitting_of_events_change_no_sum(events, steps, seed):
    clock = np.cumsum(steps)
    times, sizes = np.array(events, float).reshape(-1, 2).T
    counts = to_frames(times, column(sizes), clock, "events")[:, 0]
    begins, ends = exposures(clock).T
    assert counts.sum() == sum(size for time, size in events if ((begins <= time) & (time < ends)).any())
    single = np.repeat(times, sizes.astype(int))
    order = np.random.default_rng(seed).permutation(len(single))
    assert np.array_equal(counts, to_frames(single[order], column(np.ones(len(single))), clock, "events")[:, 0])


@given(steps=STEPS)
def test_exposures_follow_each_other_except_in_gaps(steps):
    clock = np.cumsum(steps)
    begins, ends = exposures(clock).T
    assert ((begins < clock) & (clock < ends)).all() and (begins[1:] >= ends[:-1]).all()
    near = np.diff(clock) < 1.5 * np.median(np.diff(clock)) - 1e-9
    assert np.array_equal(begins[1:][near], ends[:-1][near])


def test_fast_samples_are_averaged_over_the_exposure():
    times = np.arange(40_001) / 1000
    pulses = np.zeros(len(times))
    pulses[25::50] = 1
    frames = to_frames(times, column(pulses), CLOCK, "samples")[:, 0]
    np.testing.assert_allclose(frames, 0.02, rtol=1e-5)  # not 1 or 0, as one sample of each frame would be


@pytest.mark.parametrize("rate", [3.0, 9.9, 30.0, 1000.0])
def test_a_line_stays_the_line(rate):
    times = np.arange(0, 40 + 1 / rate, 1 / rate)
    frames = to_frames(times, np.stack([times, -2 * times], axis=1), CLOCK, "samples")
    np.testing.assert_allclose(frames, np.stack([CLOCK, -2 * CLOCK], axis=1), rtol=1e-5)


@pytest.mark.parametrize("rate", [2.0, 50.0])
def test_samples_are_missing_where_none_were_taken(rate):
    times = np.arange(2, 38, 1 / rate)
    times = times[(times <= 14) | (times >= 26)]
    frames = to_frames(times, column(np.ones(len(times))), CLOCK, "samples")[:, 0]
    inside = ((times[0] <= CLOCK) & (CLOCK <= 14)) | ((CLOCK >= 26) & (times[-1] >= CLOCK))
    assert np.array_equal(np.isfinite(frames), inside) and (frames[inside] == 1).all()


def test_samples_without_a_value_are_missing_samples():
    times = np.arange(4000) / 100
    values = np.stack([times, times], axis=1)
    values[1000:2000, 1] = np.nan
    frames = to_frames(times, values, CLOCK, "samples")
    assert np.isnan(frames[101:199, 1]).all() and np.isfinite(frames[:, 0]).all()
    np.testing.assert_allclose(frames[200:, 1], frames[200:, 0])


def test_steps_last_until_the_next():
    door = np.array([1.0, 2.025, 3.0]), column([1, 0, 4])
    frames = to_frames(*door, CLOCK, "steps")[:, 0]
    assert np.isnan(frames[:10]).all()
    np.testing.assert_allclose(frames[[10, 19, 20, 21, 29, 30, 399]], [1, 1, 0.25, 0, 0, 4, 4], atol=1e-6)


@pytest.mark.parametrize("kind", ["events", "steps", "samples"])
def test_a_series_without_a_value_is_no_event_and_unknown_otherwise(kind):
    frames = to_frames(np.arange(5.0), column([np.nan] * 5), CLOCK, kind)[:, 0]
    assert (frames == 0).all() if kind == "events" else np.isnan(frames).all()


UNEVEN = np.sort(np.random.default_rng(0).uniform(0, 40, 60))


@pytest.mark.parametrize(
    ("times", "values", "kind"),
    [
        (UNEVEN, np.ones(60), "events"),
        (UNEVEN, np.arange(60) % 2, "steps"),
        (UNEVEN, UNEVEN, "samples"),
        (CLOCK, np.arange(400) % 2, "samples"),
        (np.delete(CLOCK, slice(140, 260)), np.sin(np.delete(CLOCK, slice(140, 260))), "samples"),
    ],
)
def test_what_a_series_most_likely_is(times, values, kind):
    assert guess_kind(times, column(values)) == kind


def test_samples_taken_with_the_frames_may_be_a_little_off():
    assert same_clock(CLOCK + 0.02, CLOCK)
    assert not same_clock(CLOCK + 0.03, CLOCK) and not same_clock(CLOCK[1:], CLOCK)
