"""Time series brought to the frames of a recording: events counted, states and samples averaged over each exposure."""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.interpolate import make_interp_spline

from calm.data.recording import Kind, Recording, gaps, period

MISSING = 4  # sample periods; a longer stretch without samples was not recorded
JITTER = 0.25  # frames that a series on the clock of the frames may be off


def same_clock(times: Float[np.ndarray, " sample"], clock: Float[np.ndarray, " frame"]) -> bool:
    """Whether samples were taken with the frames: one each, at most JITTER off."""
    return len(times) == len(clock) and np.allclose(times, clock, rtol=0, atol=JITTER * period(clock))


def exposures(clock: Float[np.ndarray, " frame"]) -> Float[np.ndarray, "frame 2"]:
    """Begin and end of each frame in s: halfway to its neighbours, or half a period where there is none near."""
    half = period(clock) / 2
    middles, apart = (clock[:-1] + clock[1:]) / 2, gaps(clock)
    begins = np.append(clock[0] - half, np.where(apart, clock[1:] - half, middles))
    ends = np.append(np.where(apart, clock[:-1] + half, middles), clock[-1] + half)
    return np.stack([begins, ends], axis=1)


def is_even(times: Float[np.ndarray, " sample"]) -> bool:
    """Whether three of four samples are about as far from the next as usual."""
    steps = np.diff(times)
    return bool(np.mean(np.abs(steps - np.median(steps)) <= np.median(steps) / 2) > 0.75)


def guess_kind(times: Float[np.ndarray, " sample"], values: Float[np.ndarray, "sample channel"]) -> Kind:
    """What a series on a clock of its own most likely is.

    One value only: events. At even times: samples. Whole numbers at uneven times: steps; other numbers: samples.
    """
    if (values == values[:1]).all():
        return "events"
    whole = not np.mod(values[np.isfinite(values)], 1).any()
    return "steps" if whole and not is_even(times) else "samples"


def to_frames(
    times: Float[np.ndarray, " sample"],
    values: Float[np.ndarray, "sample channel"],
    clock: Float[np.ndarray, " frame"],
    kind: Kind,
) -> Float[np.ndarray, "frame channel"]:
    """A series, in order of time, on other frames.

    Args:
        times: of the samples in s, never going backwards.
        values: NaN where there is none.
        clock: times of the frames in s.
        kind: `events` are summed within each frame's exposure, and 0 where there are none; `steps`, each of which
            lasts until the next, and `samples` are averaged over it. Samples that are no faster than the frames are
            interpolated linearly. NaN before the first step, before the first and after the last sample, and where
            samples are missing for longer than MISSING of their periods.
    """
    convert = {"events": sum_events, "steps": average_steps, "samples": average_samples}[kind]
    channels = np.empty((len(clock), values.shape[1]), np.float32)
    for channel, column in enumerate(values.astype(float).T):
        there = np.isfinite(column)
        channels[:, channel] = (
            convert(times[there], column[there], clock) if there.any() or kind == "events" else np.nan
        )
    return channels


def sum_events(
    times: Float[np.ndarray, " event"], values: Float[np.ndarray, " event"], clock: Float[np.ndarray, " frame"]
) -> Float[np.ndarray, " frame"]:
    """The sum of the values of all events during each frame."""
    begins, ends = exposures(clock).T
    frames = np.searchsorted(begins, times, side="right") - 1
    during = (frames >= 0) & (times < ends[frames])
    return np.bincount(frames[during], weights=values[during], minlength=len(clock)).astype(float)


def average_steps(
    times: Float[np.ndarray, " step"], values: Float[np.ndarray, " step"], clock: Float[np.ndarray, " frame"]
) -> Float[np.ndarray, " frame"]:
    """The mean of what was set during each frame, from the first step on."""
    spans = np.maximum(exposures(clock), times[0])
    until = np.append(times, max(times[-1], spans.max()) + 1)
    integral = np.append(0, np.cumsum(values * np.diff(until)))
    return average(np.interp(spans, until, integral), spans)


def average(integral: Float[np.ndarray, "frame 2"], spans: Float[np.ndarray, "frame 2"]) -> Float[np.ndarray, " frame"]:
    """Mean over spans from an integral at their ends; NaN where a span is empty."""
    lengths = np.diff(spans)[:, 0]
    return np.divide(np.diff(integral)[:, 0], lengths, out=np.full(len(spans), np.nan), where=lengths > 0)


def average_samples(
    times: Float[np.ndarray, " sample"], values: Float[np.ndarray, " sample"], clock: Float[np.ndarray, " frame"]
) -> Float[np.ndarray, " frame"]:
    """The mean over each frame of the line through fast samples, or slow ones' line at each frame; NaN off the line."""
    times, first = np.unique(times, return_index=True)
    values, steps = values[first], np.diff(times)
    result = np.full(len(clock), np.nan)
    if not len(steps):
        return result
    fast = np.median(steps) < (1 - JITTER) * period(clock)
    borders = np.flatnonzero(steps > MISSING * np.median(steps)) + 1
    for stretch in np.split(np.arange(len(times)), borders):
        line, ends = values[stretch], times[stretch]
        frames = (clock >= ends[0]) & (clock <= ends[-1])
        if len(stretch) > 1:
            at, covered = clock[frames], np.clip(exposures(clock)[frames], ends[0], ends[-1])
            result[frames] = average_line(ends, line, covered) if fast else np.interp(at, ends, line)
    return result


def average_line(
    times: Float[np.ndarray, " sample"], values: Float[np.ndarray, " sample"], spans: Float[np.ndarray, "frame 2"]
) -> Float[np.ndarray, " frame"]:
    """Mean over spans of the line through samples."""
    integral = make_interp_spline(times, values, k=1).antiderivative()
    return average(integral(spans), spans)


def resampled(recording: Recording, rate: float) -> Recording:
    """The recording at another number of frames per second, its traces and behaviour taken as samples."""
    old = recording.timestamps
    clock = np.arange(old[0], old[-1], 1 / rate)
    return dataclasses.replace(
        recording,
        rate=float(rate),
        timestamps=clock,
        traces=to_frames(old, recording.traces.T, clock, "samples").T,
        behaviour=to_frames(old, recording.behaviour, clock, "samples"),
    )
