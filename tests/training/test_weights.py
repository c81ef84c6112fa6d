"""Weights for any recording: made by a command, kept in a folder, used on sessions that they never saw."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from damage import flip
from safetensors.numpy import load_file

import calm
from calm.errors import CalmError
from calm.metrics import trial_correlation
from calm.profile import load_profile, load_recipe
from calm.storage import load_checkpoint
from calm.weights import __main__ as pretrain
from calm.weights.pretrained import load_pretrained

SHIPPED = Path(calm.__file__).parent / "weights" / "small"
TINY = (
    "small corpus.recordings=3 corpus.neurons=[4,8] corpus.frames=[16,24] held_out=4 quantizer.width=8"
    " quantizer.codes=6 quantizer.encoder_layers=1 quantizer.decoder_layers=1 quantizer.heads=2 quantizer_fit.steps=20"
    " quantizer_fit.validate_every=10 quantizer_fit.rows=40 populations.recordings=3 populations.neurons=[4,8]"
    " populations.frames=[24,32] dat.width=8 dat.layers=1 dat.heads=2 dat.ffn=16 dat_fit.steps=6"
    " dat_fit.validate_every=3 finetune_fit.steps=4 finetune_fit.validate_every=2 forecast.context=8 forecast.horizon=8"
)
SHORT = load_profile("smoke forecast.context=4 *_fit.steps=4 *_fit.validate_every=2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder that the command leaves, beside that of its trainings."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretrain, "RUNS", folder / "runs")
        pretrain.main([f"recipe={TINY}", f"folder={folder / 'weights'}"])
    return folder / "weights"


def test_a_session_goes_through_tokens_and_back(made, uneven):
    weights = load_pretrained(made)
    tokens, traces = weights.tokenize(uneven), weights.reconstruct(uneven)
    assert [each.shape for each in tokens] == [(5, frames // 4) for frames in uneven.frames]
    assert [each.shape for each in traces] == [(5, frames // 4 * 4) for frames in uneven.frames]
    assert {code for each in tokens for code in each.ravel().tolist()} <= set(range(6))
    some = weights.reconstruct(uneven, np.array([3, 1]), unit="original")
    scale = uneven.neurons[["mean", "sd"]].to_numpy()[..., None]
    np.testing.assert_allclose(some[0], traces[3] * scale[:, 1] + scale[:, 0], rtol=1e-4)


def test_what_is_loaded_reconstructs_as_what_was_trained(made, tmp_path):
    recipe = load_recipe(TINY)
    trained = pretrain.pretrain(recipe, seed=0, runs=made.parent / "runs")  # found again
    session = pretrain.draw_corpus(recipe.corpus, seed=5)[0]
    loaded = load_pretrained(made)
    for first, second in zip(trained.reconstruct(session), loaded.reconstruct(session), strict=True):
        np.testing.assert_array_equal(first, second)
    assert loaded.recipe == recipe.model_dump(mode="json") and loaded.scores == trained.scores
    assert loaded.quantizer.score == trained.quantizer.score


def test_the_scores_are_of_recordings_that_training_did_not_see(made):
    recipe, weights = load_recipe(TINY), load_pretrained(made)
    held_out = pretrain.draw_corpus(recipe.corpus.changed(recordings=4), seed=pretrain.HELD_OUT_SEED)
    raw = [session for session in held_out if session.preparation.smoothing == 1]
    by_session = [np.mean([*map(trial_correlation, cut(each), weights.reconstruct(each))]) for each in raw]
    assert weights.scores["raw"] == pytest.approx(np.mean(by_session), abs=1e-6)
    trained_on = {each.fingerprint() for each in pretrain.draw_corpus(recipe.corpus, seed=0)}
    assert trained_on.isdisjoint(each.fingerprint() for each in held_out)


def cut(session):
    """Trials up to their last whole token."""
    return [trace[:, : trace.shape[1] // 4 * 4] for trace in session.traces]


def test_the_file_holds_nothing_that_only_training_needs(made):
    assert not any("queue" in name for name in load_file(made / "weights.safetensors"))


def test_what_is_adapted_forecasts_with_the_trunk_that_was_loaded(made, uneven, tmp_path):
    weights = load_pretrained(made)
    model = weights.adapt([uneven], SHORT, runs=tmp_path / "runs")
    assert model.sessions == {uneven.name: 5} and not list((tmp_path / "runs").glob("quantizer*"))
    assert model.profile.dat == weights.transformer.model.config and model.quantizer is weights.quantizer
    trunk = weights.transformer.model.state_dict()
    assert all(torch.equal(model.transformer.model.state_dict()[name], weight) for name, weight in trunk.items())
    trials = uneven.trials_of("test")
    assert [each.shape for each in model.forecast(uneven, trials)] == [
        (5, count - 4) for count in uneven.frames[trials]
    ]


def test_a_model_of_the_weights_is_kept_as_any_other(made, uneven, tmp_path):
    model = load_pretrained(made).adapt([uneven], SHORT, runs=tmp_path / "runs")
    model.save(tmp_path / "model")
    trials, again = uneven.trials_of("test"), calm.CalM.load(tmp_path / "model")
    for first, second in zip(model.forecast(uneven, trials), again.forecast(uneven, trials), strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_transformer_learns_of_no_neuron_what_tells_it_from_others(made):
    (last,) = (made.parent / "runs").glob("strangers-finetuned-*/model")
    tensors, _ = load_checkpoint(last)
    embeddings = [tensor for name, tensor in tensors.items() if name.startswith("neuron_embeddings")]
    assert len(embeddings) == 3 and not any(tensor.any() for tensor in embeddings)
    trunk = load_pretrained(made).transformer.model.state_dict()
    assert all(torch.equal(tensors[name], weight) for name, weight in trunk.items())


def test_forecasts_of_what_was_held_out_are_scored_beside_linear_ones(made):
    scores = load_pretrained(made).scores
    assert {"raw", "forecast", "decay", "ridge VAR"} <= set(scores)
    assert all(-1 <= score <= 1 for score in scores.values())


def test_an_unprepared_session_is_refused(made, make_session):
    with pytest.raises(CalmError, match="not prepared"):
        load_pretrained(made).tokenize(make_session([20] * 8))


def test_unknown_weights_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(CalmError, match="There are no weights 'large'"):
        calm.load_pretrained("large")
    with pytest.raises(CalmError, match="There are no weights"):
        calm.load_pretrained(tmp_path)


def test_changed_weights_are_refused(made, tmp_path):
    weights = load_pretrained(made)
    weights.save(tmp_path / "copy")
    flip(tmp_path / "copy" / "weights.safetensors", -1)
    with pytest.raises(CalmError, match="checksum differs"):
        load_pretrained(tmp_path / "copy")


def test_weights_outlive_the_settings_that_they_were_trained_with(made, tmp_path):
    weights = load_pretrained(made)
    fit = {**weights.recipe["quantizer_fit"], "no_longer_known": 1}
    dataclasses.replace(weights, recipe={**weights.recipe, "quantizer_fit": fit}).save(tmp_path / "old")
    assert load_pretrained(tmp_path / "old").recipe["quantizer_fit"] == fit


def test_a_model_of_another_kind_is_refused(made, tmp_path, monkeypatch):
    monkeypatch.setattr("calm.weights.pretrained.FORMAT", 99)
    with pytest.raises(CalmError, match="no weights that this version"):
        load_pretrained(made)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["recipe=tiny"], "There is no recipe 'tiny': choose one of small"),
        (["recipe=small corpus.mice=3"], "names no setting of a recipe"),
        (["steps=3"], "There is no setting 'steps': there are recipe, seed, folder"),
    ],
)
def test_a_mistyped_command_ends_with_one_sentence(words, sentence):
    with pytest.raises(SystemExit, match=sentence):
        pretrain.main(words)


def test_the_recipe_of_a_folder_is_readable_without_calm(made):
    assert json.loads((made / "manifest.json").read_text())["recipe"]["quantizer"]["codes"] == 6


def test_the_shipped_weights_are_those_of_their_card():
    card, weights = (SHIPPED / "README.md").read_text(), calm.load_pretrained("small")
    assert hashlib.sha256((SHIPPED / "weights.safetensors").read_bytes()).hexdigest() in card
    assert f"| {weights.scores['raw']:.3f} | {weights.scores['smoothed']:.3f} |" in card
    for section, numbers in yaml.safe_load(SHIPPED.with_suffix(".yaml").read_text()).items():
        assert numbers.items() <= weights.recipe[section].items()


def test_the_shipped_weights_keep_recordings_that_they_never_saw():
    recipe = load_recipe("small")
    held_out = pretrain.draw_corpus(recipe.corpus.changed(recordings=8), seed=pretrain.HELD_OUT_SEED)
    scores = pretrain.kept(calm.load_pretrained("small").quantizer.model, held_out)
    assert min(scores.values()) > 0.85
