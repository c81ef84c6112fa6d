"""Stages: found again under their key, trained anew where anything differs; adaptation trains embeddings only."""

import pytest
import torch

from calm.paper.experiments.reconstruction import score_reconstruction
from calm.paper.results import Results
from calm.profile import load_profile
from calm.recordings import load_recordings
from calm.storage import stage_key
from calm.training.reconstruction import reconstruct
from calm.training.stages import initial_model, train
from calm.training.tasks import QuantizerTask, TransformerTask


@pytest.fixture(scope="module")
def smoke():
    return load_profile("smoke")


@pytest.fixture(scope="module")
def recordings(smoke):
    return load_recordings("simulation", smoke, seed=0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def quantizer(recordings, smoke, runs):
    return train(QuantizerTask(recordings.held_in, smoke.quantizer), smoke.quantizer_fit, seed=0, runs=runs)


@pytest.fixture(scope="module")
def transformer(quantizer, recordings, smoke, runs):
    task = TransformerTask(quantizer, recordings.held_in, smoke.dat, smoke.forecast)
    return train(task, smoke.dat_fit, seed=0, runs=runs)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_finished_stage_is_loaded_not_trained(quantizer, recordings, smoke, runs, monkeypatch):
    monkeypatch.setattr("calm.training.fit.Run.train", lambda *_: pytest.fail("trained again"))
    again = train(QuantizerTask(recordings.held_in, smoke.quantizer), smoke.quantizer_fit, seed=0, runs=runs)
    assert again.key == quantizer.key
    assert torch.equal(weights(again.model), weights(quantizer.model))
    assert again.history.equals(quantizer.history)


def test_the_key_depends_on_config_input_seed_and_version(smoke):
    base = stage_key("dat", [smoke.dat], ["a"], 0, 1)
    different = {
        stage_key("dat", [smoke.dat.changed(dropout=0.3)], ["a"], 0, 1),
        stage_key("dat", [smoke.dat], ["b"], 0, 1),
        stage_key("dat", [smoke.dat], ["a"], 1, 1),
        stage_key("dat", [smoke.dat], ["a"], 0, 2),
    }
    assert base not in different and len(different) == 4


def test_training_improves_both_stages(quantizer, transformer):
    assert quantizer.history["val"].iloc[-1] > quantizer.history["val"].iloc[0]
    assert transformer.history["loss"].iloc[-1] < transformer.history["loss"].iloc[0]


def test_adaptation_changes_embeddings_of_new_sessions_only(transformer, quantizer, recordings, smoke, runs):
    task = TransformerTask(quantizer, recordings.held_out, smoke.dat, smoke.forecast)
    adapted = train(task, smoke.dat_fit, seed=0, runs=runs, pretrained=transformer)
    before = transformer.model.state_dict()
    for name, value in adapted.model.state_dict().items():
        if not name.startswith(adapted.model.session_parameters):
            assert torch.equal(value, before[name]), name
    assert list(adapted.model.index) == [session.name for session in recordings.held_out]
    assert any(parameter.abs().sum() > 0 for parameter in adapted.model.session_embeddings)  # they start at zero


def test_adaptation_has_a_share_of_the_steps_and_a_rate_of_its_own(transformer, quantizer, recordings, smoke, runs):
    fit = smoke.dat_fit.changed(steps=8, validate_every=4, adapt_share=0.5, adapt_rate=3.0)
    assert (fit.adapting().steps, fit.adapting().validate_every) == (4, 2)
    assert fit.adapting().learning_rate == pytest.approx(3 * fit.learning_rate)
    task = TransformerTask(quantizer, recordings.held_out, smoke.dat, smoke.forecast)
    embeddings = [
        train(task, changed, seed=0, runs=runs, pretrained=transformer).model.neuron_embeddings[0]
        for changed in (fit, fit.changed(adapt_rate=1.0))
    ]
    start = initial_model(task, seed=0, pretrained=transformer).neuron_embeddings[0]
    fast, slow = ((each - start).abs().mean() for each in embeddings)
    assert fast > 2 * slow > 0


def test_adaptation_begins_with_the_pretrained_weights_and_embeddings_as_drawn(
    transformer, quantizer, recordings, smoke
):
    task = TransformerTask(quantizer, recordings.held_out, smoke.dat, smoke.forecast)
    start, drawn = initial_model(task, seed=0, pretrained=transformer), initial_model(task, seed=0).state_dict()
    for name, value in start.state_dict().items():
        of_sessions = name.startswith(start.session_parameters)
        expected = drawn[name] if of_sessions else transformer.model.state_dict()[name].cpu()
        assert torch.equal(value, expected), name
    assert list(start.index) == ["simulation-2"]


def test_held_out_sessions_are_those_that_nothing_was_trained_on(recordings, smoke):
    assert [session.name for session in recordings.held_in] == ["simulation-0", "simulation-1"]
    assert [session.name for session in recordings.held_out] == ["simulation-2"]
    assert set(recordings.fingerprints) == {"simulation-0", "simulation-1", "simulation-2"}


def test_reconstruction_has_a_row_for_each_session_and_split(quantizer, recordings):
    results = Results(recordings.name, 0)
    score_reconstruction(results, quantizer.model, recordings, item="fig1b")
    rows = results.table("fig1b")
    assert len(rows) == 3 * 3
    assert set(zip(rows["group"], rows["split"], strict=True)) >= {("held-in", "test"), ("held-out", "train")}
    assert rows["value"].between(-1, 1).all()


def test_reconstruction_leaves_out_an_unfinished_window(quantizer, recordings):
    session = recordings.held_in[0]
    traces, tokens = reconstruct(quantizer.model, session, session.trials_of("test")[:1])
    assert traces[0].shape[1] == tokens[0].shape[1] * quantizer.model.config.window == 64
