"""Batches made ahead on a thread: in order, early, and failing where they are asked for."""

import itertools
import time

import pytest

from calm import devices


def test_batches_made_ahead_come_in_their_order_and_before_they_are_asked_for():
    made = []

    def make(step):
        made.append(step)
        return -step

    coming = devices.prepared_ahead(make, itertools.count())
    assert next(coming) == 0
    deadline = time.monotonic() + 10
    while len(made) <= devices.AHEAD and time.monotonic() < deadline:
        time.sleep(0.001)
    assert made == list(range(devices.AHEAD + 1))
    assert list(devices.prepared_ahead(make, range(7))) == [-step for step in range(7)]


def test_a_batch_that_cannot_be_made_fails_where_it_is_asked_for():
    coming = devices.prepared_ahead(lambda step: 1 / (2 - step), range(5))
    assert [next(coming), next(coming)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(coming)
