"""Loadings: inner products are correlations, neurons may come in any order, and embeddings start with them."""

import numpy as np
import pytest
import torch

from calm.baselines.patches import ContinuousPatches
from calm.config import PatchesConfig
from calm.models.loadings import add_loadings, loadings
from calm.models.transformer import DualAxisTransformer


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


def test_embeddings_of_the_session_start_with_loadings_of_the_configured_size(traces, dat_config, quantizer):
    config = dat_config.changed(loadings=4.0, embedding_sd=0.0)
    model = DualAxisTransformer(config, quantizer.codebook.vectors, {"a": 7, "b": 7})
    patches = ContinuousPatches(PatchesConfig(width=8, heads=2, ffn=16, loadings=4.0, embedding_sd=0), 8, {"b": 7})
    for each in (model, patches):
        each.start("b", traces)
        started = each.neuron_embeddings[each.index["b"]]
        torch.testing.assert_close(started.data, 4 * 8**0.5 * loadings(traces, 8))
        assert started[:6].square().mean().item() == pytest.approx(16)
    assert not model.neuron_embeddings[model.index["a"]].any()


def test_without_a_size_nothing_is_added(traces):
    embeddings = torch.randn(7, 4)
    before = embeddings.clone()
    add_loadings(embeddings, traces, 0.0)
    assert torch.equal(embeddings, before)
