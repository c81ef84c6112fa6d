"""What methods are chosen by: which validation trials, and how many of each session."""

import numpy as np
import pytest

from calm.baselines.linear import Decay
from calm.baselines.validation import compared_trials, validation_correlation, validation_correlations
from calm.config.fitting import ForecastConfig
from calm.data.preparation import prepare


@pytest.fixture
def sessions(make_session):
    """With 30 and with 5 validation trials."""
    made = [make_session([12] * count, name=name) for name, count in (("long", 200), ("short", 30))]
    return [prepare(session, seed=0, min_frames=12) for session in made]


class Watched(Decay):
    """Notes the contexts that it is asked about."""

    def __init__(self, asked: list):
        self.asked = asked

    def forecast_trial(self, context, horizon):
        self.asked.append(context)
        return super().forecast_trial(context, horizon)


def asked_about(session, config):
    """Places, among the validation trials, of those whose contexts a method saw."""
    asked = []
    validation_correlation(Watched(asked).fit(session), session, config)
    contexts = [session.traces[trial][:, : config.context] for trial in compared_trials(session, "val", config)]
    return [next(place for place, each in enumerate(contexts) if np.array_equal(each, seen)) for seen in asked]


def test_trials_are_taken_evenly_from_first_to_last(sessions):
    count = len(sessions[0].trials_of("val"))
    assert asked_about(sessions[0], ForecastConfig(context=8, validation_trials=4)) == [
        k * count // 4 for k in range(4)
    ]
    assert asked_about(sessions[0], ForecastConfig(context=8)) == list(range(count))


def test_sessions_share_the_trials_and_count_alike(sessions):
    asked = {session.name: [] for session in sessions}
    config = ForecastConfig(context=8, validation_trials=5)
    score = validation_correlations(lambda session: Watched(asked[session.name]).fit(session), sessions, config)
    assert {name: len(seen) for name, seen in asked.items()} == {"long": 2, "short": 2}
    each = config.changed(validation_trials=2)
    assert score == np.mean([validation_correlation(Decay().fit(one), one, each) for one in sessions])


def test_every_session_has_a_trial_at_least(sessions):
    asked = {session.name: [] for session in sessions}
    config = ForecastConfig(context=8, validation_trials=1)
    validation_correlations(lambda session: Watched(asked[session.name]).fit(session), sessions, config)
    assert {name: len(seen) for name, seen in asked.items()} == {"long": 1, "short": 1}
