"""Intervals on a clock: the frames of each trial, windows of a recording without trials, and what shares frames."""

import dataclasses
import itertools
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pydantic
from jaxtyping import Bool, Float, Int

from calm.config.base import Config, Names
from calm.data.recording import LONGEST_STEP, Recording, gaps, period
from calm.data.session import MIN_TRIALS, SPLIT_GROUP, Session, cut
from calm.errors import CalmError

ROUNDING = 1e-4  # s; what times lose that are stored in single precision, or to a tenth of a millisecond
GAP_SHARE = 0.1  # of a recording that the gaps between blocks of windows take, if that leaves blocks enough
START, STOP = "start_time", "stop_time"


class Trials(Config):
    """Where trials come from: the rows of interval tables, or the time around events."""

    tables: Annotated[Names, pydantic.Field(min_length=1)] | None = None  # joined, one after the other
    events: str | None = None  # a time series
    before: float = pydantic.Field(1.0, ge=0)  # s
    after: float = pydantic.Field(4.0, gt=0)  # s

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> "Trials":
        if (self.tables is None) == (self.events is None):
            raise ValueError("`trials` come from a table or from `events`, not from both: leave one out")
        return self


class Windows(Config):
    """How a recording without trials is cut into windows; numbers are frames."""

    length: int = pydantic.Field(80, ge=1)
    stride: int | None = pydantic.Field(None, ge=1)  # the length
    gap: int | None = pydantic.Field(None, ge=0)  # between blocks; half the length
    split: Literal["blocks", "random"] = "blocks"  # into training, validation and test

    @pydantic.model_validator(mode="after")
    def _no_shared_frames(self) -> "Windows":
        if self.split == "random" and self.step < self.length:
            raise ValueError(
                f"`stride` {self.step} lets windows of {self.length} frames overlap: `split: blocks`, or a longer one"
            )
        return self

    @property
    def step(self) -> int:
        """Frames from the start of one window to that of the next."""
        return self.stride or self.length

    @property
    def between(self) -> int:
        """Frames between two blocks that belong to no window."""
        return self.length // 2 if self.gap is None else self.gap


def length_alone(windows: Any) -> Any:
    """The keys of windows for a number, their length; anything else as it is."""
    return {"length": windows} if type(windows) is int else windows


def frames_between(
    times: Float[np.ndarray, "trial 2"], clock: Float[np.ndarray, " frame"]
) -> Int[np.ndarray, "trial 2"]:
    """First frame of each trial and the frame after its last: start <= time < stop, both up to ROUNDING."""
    return np.searchsorted(clock, times - ROUNDING)


def unusable(
    times: Float[np.ndarray, "trial 2"], clock: Float[np.ndarray, " frame"]
) -> dict[str, Bool[np.ndarray, " trial"]]:
    """Which trials cannot be used, by the reason; a trial may have several."""
    step = LONGEST_STEP * period(clock)
    edges = frames_between(times, clock)
    first, last = np.clip([edges[:, 0], edges[:, 1] - 1], 0, len(clock) - 1)
    passed = np.append(0, np.cumsum(gaps(clock)))  # gaps before each frame
    late, early = clock[first] - times[:, 0] > step, times[:, 1] - clock[last] > step
    reasons = {
        "without a start or stop time": np.isnan(times).any(axis=1),
        "beyond the recording": (times[:, 0] < clock[0] - step) | (times[:, 1] > clock[-1] + step),
        "that stop before they start": times[:, 1] < times[:, 0],
        "without frames": edges[:, 0] >= edges[:, 1],
        "with a gap in the recording": late | early | (passed[first] != passed[last]),
    }
    covered = ~np.any(list(reasons.values()), axis=0)
    repeated = np.zeros(len(times), bool)
    repeated[covered] = pd.DataFrame(edges[covered]).duplicated()
    return reasons | {"the same as another": repeated}


def cut_into_trials(recording: Recording, trials: pd.DataFrame) -> Session:
    """The session of those trials of a table, with `start_time` and `stop_time` in s, that the recording covers.

    A trial has the frames with start_time <= timestamp < stop_time. Left out, with a warning that counts them, are
    trials without a time, with frames missing at an end or in between, and repeated ones. Trials that share frames
    get one number in the column SPLIT_GROUP, and stay in one split.

    Raises:
        CalmError: no trial is left.
    """
    recording = recorded(recording)
    times, clock = trials[[START, STOP]].to_numpy(float), recording.timestamps
    reasons = unusable(times, clock)
    keep = ~np.any(list(reasons.values()), axis=0)
    text = counted(reasons)
    if not keep.any():
        raise CalmError(
            f"none of {len(trials)} trials can be used ({text or 'the table is empty'}): the traces go from"
            f" {clock[0]:g} to {clock[-1]:g} s, check that the table is on their clock and in seconds."
        )
    if text:
        tell(recording, f"{np.sum(~keep)} of {len(trials)} trials are left out: {text}.")
    edges = frames_between(times[keep], clock)
    trials, groups = trials[keep].reset_index(drop=True), sharing_frames(edges)
    if shared := len(edges) - len(set(groups)):
        tell(recording, f"{shared} trials share frames with an earlier one, and stay in one split with it.")
        trials = trials.assign(**{SPLIT_GROUP: groups})
    return cut(recording, trials, edges)


def recorded(recording: Recording) -> Recording:
    """The recording without the frames that are NaN in all neurons, which are gaps like any other; told if there are.

    Raises:
        CalmError: there are no others.
    """
    there = np.isfinite(recording.traces).any(axis=0)
    if there.all():
        return recording
    if not there.any():
        raise CalmError("all frames are NaN in all neurons: choose other traces.")
    tell(recording, f"{np.sum(~there)} of {len(there)} frames are NaN in all neurons, and taken as not recorded.")
    return dataclasses.replace(
        recording,
        traces=recording.traces[:, there],
        timestamps=recording.timestamps[there],
        behaviour=recording.behaviour[there],
    )


def counted(reasons: dict[str, Bool[np.ndarray, " trial"]]) -> str:
    """How many trials each reason is the first for: `2 without frames, 1 the same as another`."""
    first = np.argmax(list(reasons.values()), axis=0)
    counts = {reason: int(np.sum(where & (first == index))) for index, (reason, where) in enumerate(reasons.items())}
    return ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)


def tell(recording: Recording, text: str) -> None:
    """Warn about a recording."""
    warnings.warn(f"{recording.name}: {text}", stacklevel=3)


def sharing_frames(edges: Int[np.ndarray, "trial 2"]) -> Int[np.ndarray, " trial"]:
    """A number for each trial, the same for those that share frames, be it through others."""
    order = np.argsort(edges[:, 0], kind="stable")
    reached = np.maximum.accumulate(edges[order, 1])
    apart = np.append(0, np.cumsum(edges[order][1:, 0] >= reached[:-1]))
    groups = np.empty(len(edges), int)
    groups[order] = apart
    return groups


def around_events(events: Float[np.ndarray, " event"], before: float, after: float) -> pd.DataFrame:
    """Trials from `before` to `after` s around events; an event within the trial of an earlier one has none."""
    kept: list[float] = []
    for time in np.sort(events):
        if not kept or time - before >= kept[-1] + after:
            kept.append(time)
    times = np.array(kept)
    return pd.DataFrame({START: times - before, STOP: times + after, "event_time": times})


def cut_into_windows(recording: Recording, windows: Windows) -> Session:
    """The session of windows that lie one after the other wherever the recording has no gap.

    Split by blocks, windows of one block have one number in the column SPLIT_GROUP, and stay in one split; between
    two blocks lie frames that no window has, so that what is tested on is no neighbour of what is trained on.

    Raises:
        CalmError: no window fits.
    """
    recording = recorded(recording)
    clock = recording.timestamps
    borders = [0, *(np.flatnonzero(gaps(clock)) + 1).tolist(), len(clock)]
    stretches = list(itertools.pairwise(borders))
    edges, blocks = place_windows(stretches, windows)
    if not len(edges):
        longest = max(stop - start for start, stop in stretches)
        raise CalmError(
            f"no window of {windows.length} frames fits into the {longest} frames without a gap: make `length` of"
            " `windows` shorter."
        )
    trials = pd.DataFrame({START: clock[edges[:, 0]], STOP: clock[edges[:, 1] - 1] + period(clock)})
    return cut(recording, trials if windows.split == "random" else trials.assign(**{SPLIT_GROUP: blocks}), edges)


def place_windows(
    stretches: Sequence[tuple[int, int]], windows: Windows
) -> tuple[Int[np.ndarray, "window 2"], Int[np.ndarray, " window"]]:
    """Edges of all windows within stretches of frames, and the block of each; at random there is only one block."""
    size = block_size(sum(stop - start for start, stop in stretches), windows)
    edges, blocks = [], []
    for start, stop in stretches:
        if edges and len(edges) % size == 0:  # a block ended with the stretch before
            start = max(start, edges[-1][1] + windows.between)
        while start + windows.length <= stop:
            edges.append((start, start + windows.length))
            blocks.append((len(edges) - 1) // size)
            start = edges[-1][1] + windows.between if len(edges) % size == 0 else start + windows.step
    return np.array(edges, int).reshape(-1, 2), np.array(blocks, int)


def block_size(frames: int, windows: Windows) -> int:
    """Windows of a block: as few as leave all gaps together GAP_SHARE of the frames, or MIN_TRIALS blocks."""
    if windows.split == "random":
        return frames
    blocks = max(MIN_TRIALS, int(GAP_SHARE * frames / max(windows.between, 1)))
    within = frames - blocks * windows.length - (blocks - 1) * windows.between
    return max(1, (within // windows.step + blocks) // blocks)
