"""Loadings: inner products are correlations, neurons may come in any order, and embeddings start with them."""

import numpy as np
import pytest
import torch

from calm.baselines.patches import ContinuousPatches
from calm.config import PatchesConfig
from calm.models.loadings import loadings
from calm.models.transformer import DualAxisTransformer, TokenBatch


@pytest.fixture
def traces():
    """Two groups of three neurons that are active together, and one that never changes."""
    rng = np.random.default_rng(0)
    common = np.repeat(rng.normal(size=(2, 400)), 3, axis=0)
    return np.concatenate([common + 0.5 * rng.normal(size=common.shape), np.ones((1, 400))]).astype(np.float32)


def test_inner_products_are_correlations_and_a_silent_neuron_has_no_loadings(traces):
    known = loadings(traces, 8)
    assert known.shape == (7, 8) and known.dtype == torch.float32
    np.testing.assert_allclose(known[:6] @ known[:6].T, np.corrcoef(traces[:6]), atol=1e-5)
    assert known[6].abs().max() < 1e-6


def test_few_channels_hold_the_largest_components(traces):
    known, correlations = loadings(traces, 2), np.corrcoef(traces[:6])
    variances, components = np.linalg.eigh(correlations)
    best = components[:, -2:] * variances[-2:] @ components[:, -2:].T  # of rank 2 (Eckart and Young)
    np.testing.assert_allclose(known[:6] @ known[:6].T, best, atol=1e-5)


def test_neurons_may_come_in_any_order(traces):
    order = [3, 0, 5, 6, 1, 4, 2]
    torch.testing.assert_close(loadings(traces[order], 2), loadings(traces, 2)[order], rtol=0, atol=1e-5)


def test_what_all_neurons_do_together_is_alike_in_all_sessions(traces):
    other = np.random.default_rng(1).normal(size=(5, 300)) + 2 * np.random.default_rng(2).normal(size=300)
    first = loadings(np.concatenate([traces[:3], traces[:3]]), 8).mean(0)
    assert torch.cosine_similarity(loadings(other, 8).mean(0), first, dim=0) > 0.9


def test_a_single_neuron_is_its_own_component():
    assert loadings(np.random.default_rng(0).normal(size=(1, 50)), 3).norm().item() == pytest.approx(1)


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
        assert known[:6].square().mean().item() == pytest.approx(16)
        assert not model.loadings.of(model.index["a"]).any()
        assert all(torch.equal(*pair) for pair in zip(embeddings, model.neuron_embeddings, strict=True))


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


def test_without_a_size_there_is_nothing_to_know(traces, dat_config, quantizer):
    model = DualAxisTransformer(dat_config, quantizer.codebook.vectors, {"a": 7})
    model.introduce("a", [traces])
    assert dat_config.loadings == 0 and not any(each.any() for each in model.loadings.buffers())
