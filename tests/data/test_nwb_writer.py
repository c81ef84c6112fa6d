"""Writing NWB: what comes out is what went in."""

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nwb_writer import write_session

from calm.data.nwb import read_session
from calm.data.session import Session


def random_session(lengths: list[int], neurons: int, channels: int, rate: float) -> Session:
    """A session with trials of the given lengths and columns of every kind."""
    rng, count = np.random.default_rng(sum(lengths)), len(lengths)
    return Session(
        name="round",
        subject="trip",
        rate=rate,
        traces=tuple(rng.normal(size=(neurons, length)).astype(np.float32) for length in lengths),
        behaviour=tuple(rng.normal(size=(length, channels)).astype(np.float32) for length in lengths),
        behaviour_names=tuple(f"channel[{index}]" for index in range(channels)),
        trials=pd.DataFrame({"go": rng.random(count) < 0.5, "outcome": ["hit"] * count, "reward": rng.random(count)}),
        neurons=pd.DataFrame({"id": rng.permutation(neurons), "depth": rng.random(neurons), "area": "V1"}),
    )


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5).filter(lambda lengths: sum(lengths) > 1),
    neurons=st.integers(1, 4),
    channels=st.integers(0, 2),
    rate=st.floats(1, 100),
)
def test_write_then_read(tmp_path, lengths, neurons, channels, rate):
    session = random_session(lengths, neurons, channels, rate)
    write_session(session, tmp_path / "a.nwb")
    conditions = tuple(session.trials)
    again = read_session(tmp_path / "a.nwb", behaviour=session.behaviour_names, conditions=conditions)
    assert (again.name, again.subject, again.rate) == (session.name, session.subject, session.rate)
    assert again.behaviour_names == session.behaviour_names
    assert again.fingerprint() == session.fingerprint()
    for ours, theirs in zip(again.behaviour, session.behaviour, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    pd.testing.assert_frame_equal(again.trials[list(session.trials)], session.trials)
    pd.testing.assert_frame_equal(again.neurons, session.neurons)
