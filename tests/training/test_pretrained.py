"""The few lines of a user: pretrain, adapt, forecast, save and load."""

import dataclasses

import numpy as np
import pytest
import torch
from linear_systems import noise_free_session

import calm
from calm.errors import CalmError
from calm.model import CalM
from calm.profile import load_profile


def short(profile):
    """The smoke profile with a context that leaves something of trials of 20 frames."""
    return profile.changed(forecast=profile.forecast.changed(context=8))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def session():
    return noise_free_session(neurons=4, trials=30, frames=20, seed=0)


@pytest.fixture(scope="module")
def model(session, runs):
    return CalM.pretrain([session], short(load_profile("smoke")), runs=runs)


def test_a_saved_model_forecasts_the_same_when_loaded(model, session, tmp_path):
    model.save(tmp_path / "model")
    again, trials = CalM.load(tmp_path / "model"), session.trials_of("test")
    before, after = model.forecast(session, trials), again.forecast(session, trials)
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))
    assert again.profile == model.profile and again.sessions == {session.name: 4}
    assert again.transformer.score == model.transformer.score


def test_a_damaged_model_is_refused(model, tmp_path):
    model.save(tmp_path / "model")
    weights = tmp_path / "model" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CalmError, match="damaged"):
        CalM.load(tmp_path / "model")


def test_a_loaded_model_adapts_to_a_session_of_another_size(model, tmp_path):
    model.save(tmp_path / "model")
    new = dataclasses.replace(noise_free_session(neurons=6, trials=30, frames=20, seed=1), name="new")
    adapted = CalM.load(tmp_path / "model").adapt([new], runs=tmp_path / "runs")
    assert adapted.sessions == {"new": 6} and adapted.embeddings(new).shape == (6, model.profile.dat.width)
    shared = {name: value for name, value in model.transformer.model.state_dict().items() if "embeddings" not in name}
    assert all(torch.equal(value, adapted.transformer.model.state_dict()[name]) for name, value in shared.items())
    forecasts = adapted.forecast(new, new.trials_of("test"), horizon=5, choice="sample", samples=2)
    assert {forecast.shape for forecast in forecasts} == {(6, 5)}


def test_unknown_sessions_are_refused(model):
    stranger = noise_free_session(neurons=6, trials=30, frames=20, seed=1)
    with pytest.raises(CalmError, match="adapt"):
        model.forecast(stranger, stranger.trials_of("test"))


def test_sessions_that_cannot_be_trained_on_are_refused(make_session, session, runs):
    with pytest.raises(CalmError, match="is not prepared"):
        CalM.pretrain([make_session([20] * 10)], short(load_profile("smoke")), runs=runs)
    with pytest.raises(CalmError, match="shortest trial has 20"):
        CalM.pretrain([session], "smoke", runs=runs)


def test_the_package_offers_what_the_readme_uses():
    assert {"CalM", "load_sessions", "prepare"} <= set(calm.__all__)
