"""Loadings: inner products are correlations without noise, neurons may come in any order, and models can do without."""

import numpy as np
import pytest
import scipy.signal
import torch

from calm.baselines.patches import ContinuousPatches
from calm.config.models import PatchesConfig
from calm.models.loadings import effective_frames, loadings, without_noise
from calm.models.transformer import DualAxisTransformer, TokenBatch


@pytest.fixture
def traces():
    """Two groups of three neurons that are active together, and one that never changes."""
    rng = np.random.default_rng(0)
    common = np.repeat(rng.normal(size=(2, 400)), 3, axis=0)
    return np.concatenate([common + 0.5 * rng.normal(size=common.shape), np.ones((1, 400))]).astype(np.float32)


def population(frames, seed=0):
    """Traces of 150 neurons with two sources in common, and their true correlations."""
    rng = np.random.default_rng(seed)
    shares = rng.normal(size=(150, 2)) * (0.6, 0.5)
    sds = np.sqrt(np.square(shares).sum(axis=1) + 1)
    traces = shares @ rng.normal(size=(2, frames)) + rng.normal(size=(150, frames))
    return traces.astype(np.float32), shares @ shares.T / np.outer(sds, sds)


def error(correlations, true):
    """Root mean squared error over pairs of neurons."""
    return np.sqrt(np.square(correlations - true)[~np.eye(len(true), dtype=bool)].mean())


def test_inner_products_are_correlations_given_many_frames():
    observed, true = population(frames=20_000)
    known = loadings(observed, 64)
    assert known.shape == (150, 64) and known.dtype == torch.float32
    assert error((known @ known.T).numpy(), true) < 0.01 < error(np.zeros_like(true), true)


@pytest.mark.parametrize("frames", [40, 100, 400, 2000])
def test_less_noise_is_in_them_than_in_correlations(frames):
    observed, true = population(frames)
    known = loadings(observed, 64)
    assert error((known @ known.T).numpy(), true) < 0.8 * error(np.corrcoef(observed), true)


@pytest.mark.parametrize(("frames", "kept"), [(200, 0.25), (10_000, 0.01)])
def test_neurons_that_have_nothing_in_common_have_no_loadings_however_slow_they_are(frames, kept):
    noise = np.random.default_rng(1).normal(size=(60, frames + 100))
    slow = scipy.signal.lfilter([1], [1, -0.9], noise)[:, 100:]
    assert loadings(slow, 64).square().sum(dim=1).max() < kept


def test_the_frames_of_slow_traces_count_less():
    noise = np.random.default_rng(2).normal(size=(20, 10_100))
    assert effective_frames(noise) == pytest.approx(10_100, rel=1e-4)
    slow = scipy.signal.lfilter([1], [1, -0.9], noise)[:, 100:]
    assert effective_frames(slow) == pytest.approx(10_000 * (1 - 0.9**2) / (1 + 0.9**2), rel=0.05)


def test_variances_without_noise_are_those_of_the_spiked_model():
    ratio, true = 0.5, np.array([5.0, 1.0])  # without the noise's 1
    observed, cosines = (1 + true) * (1 + ratio / true), (1 - ratio / true**2) / (1 + ratio / true)
    np.testing.assert_allclose(without_noise(observed, ratio), true * cosines)
    assert not without_noise(np.array([(1 + ratio**0.5) ** 2, 1.0, 0.0]), ratio).round(6).any()


def test_a_silent_neuron_a_lone_one_and_silence_have_none(traces):
    assert loadings(traces, 8)[6].abs().max() < 1e-6 < loadings(traces, 8)[:6].norm(dim=1).min()
    assert loadings(np.random.default_rng(0).normal(size=(1, 50)), 3).abs().max() < 1e-3
    assert loadings(np.ones((3, 50)), 3).abs().max() < 1e-3


def test_neurons_may_come_in_any_order(traces):
    order = [3, 0, 5, 6, 1, 4, 2]
    torch.testing.assert_close(loadings(traces[order], 2), loadings(traces, 2)[order], rtol=0, atol=1e-5)


def test_what_all_neurons_do_together_is_alike_in_all_sessions(traces):
    other = np.random.default_rng(1).normal(size=(5, 300)) + 2 * np.random.default_rng(2).normal(size=300)
    first = loadings(np.concatenate([traces[:3], traces[:3]]), 8).mean(0)
    assert torch.cosine_similarity(loadings(other, 8).mean(0), first, dim=0) > 0.9


@pytest.fixture
def models(dat_config, quantizer):
    """Both models that have loadings, of two sessions of seven neurons."""
    config = dat_config.changed(loadings=4.0)
    patches = PatchesConfig(width=8, heads=2, ffn=16, loadings=4.0)
    sessions = {"a": 7, "b": 7}
    return DualAxisTransformer(config, quantizer.codebook.vectors, sessions), ContinuousPatches(patches, 8, sessions)


def test_a_model_knows_the_loadings_of_the_sessions_that_it_was_introduced_to(models, traces):
    for model in models:
        embeddings = [each.detach().clone() for each in model.neuron_embeddings]
        model.introduce("b", [traces[:, :150], traces[:, 150:]])
        known = model.loadings.of(model.index["b"])
        torch.testing.assert_close(known, 4 * 8**0.5 * loadings(traces, 8))
        assert known[:6].square().mean().item() == pytest.approx(16, rel=0.6)
        assert not model.loadings.of(model.index["a"]).any()
        assert all(torch.equal(*pair) for pair in zip(embeddings, model.neuron_embeddings, strict=True))


def test_loadings_are_hidden_for_a_while_only(models, traces):
    for model in models:
        with model.unintroduced() as different:
            assert not different
        model.introduce("b", [traces])
        known = model.loadings.of(1).clone()
        with pytest.raises(ZeroDivisionError), model.unintroduced() as different:
            assert different and not model.loadings.of(1).any()
            raise ZeroDivisionError
        assert torch.equal(model.loadings.of(1), known) and known.any()


def test_nothing_trains_loadings_and_they_are_saved(models, traces):
    for model in models:
        model.introduce("b", [traces[:, :150], traces[:, 150:]])
        assert not any(name.startswith("loadings") for name, _ in model.named_parameters())
        assert torch.equal(model.state_dict()["loadings.1"], model.loadings.of(1))


def test_loadings_act_like_embeddings_of_the_same_values(models, traces):
    batch = TokenBatch("b", torch.arange(7), torch.randint(0, 4, (2, 7, 5)))
    model, _ = models
    model.introduce("b", [traces[:, :150], traces[:, 150:]])
    logits = model.eval()(batch)
    with torch.no_grad():
        model.neuron_embeddings[1] += model.loadings.of(1)
        assert not torch.allclose(model(batch), logits, atol=1e-3)
        model.loadings.of(1).zero_()
        torch.testing.assert_close(model(batch), logits)


def test_in_a_share_of_training_steps_none_are_known(models, traces):
    for model in models:
        model.introduce("b", [traces])
        where = model.loadings
        known = where.eval().of(model.index["b"])
        where.train()
        seen = [where.of(model.index["b"]) for _ in range(300)]
        assert all(torch.equal(each, known) or not each.any() for each in seen)
        assert sum(not each.any() for each in seen) / 300 == pytest.approx(model.config.loadings_dropout, abs=0.08)


def test_a_frozen_trunk_is_never_without_them(models, traces):
    for model in models:
        model.introduce("b", [traces])
        model.train().freeze()
        assert all(model.loadings.of(model.index["b"]).any() for _ in range(50))
        assert {name for name, each in model.named_parameters() if each.requires_grad} == {
            f"{kind}.{place}" for kind in ("neuron_embeddings", "session_embeddings") for place in (0, 1)
        }


def test_without_a_size_there_is_nothing_to_know(traces, dat_config, quantizer):
    model = DualAxisTransformer(dat_config, quantizer.codebook.vectors, {"a": 7})
    model.introduce("a", [traces])
    assert dat_config.loadings == 0 and not any(each.any() for each in model.loadings.buffers())
