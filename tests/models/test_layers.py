"""Causality, equivariance and caching of the shared layers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel

from calm.models.layers import Cache, CausalBlock, NeuronAttention, TimeAttention, rotate

TOKENS, WIDTH, HEADS = 7, 8, 2


@pytest.fixture
def tokens():
    return torch.randn(TOKENS, 3, 2, WIDTH)


@pytest.mark.parametrize("layer", [TimeAttention, CausalBlock])
@pytest.mark.parametrize("token", range(1, TOKENS))
def test_later_tokens_do_not_reach_earlier_ones(layer, token, tokens):
    model, changed = layer(WIDTH, HEADS), tokens.clone()
    changed[token:] += 1 + torch.rand_like(changed[token:])
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:token], after[:token])
    assert (before[token:] != after[token:]).any(dim=-1).all()


def test_earlier_tokens_reach_later_ones(tokens):
    model, changed = TimeAttention(WIDTH, HEADS), tokens.clone()
    changed[0] += torch.rand_like(changed[0])
    assert (model(tokens) != model(changed)).any(dim=-1).all()


def test_time_attention_keeps_everything_behind_the_tokens_apart(tokens):
    model, changed = TimeAttention(WIDTH, HEADS), tokens.clone()
    changed[:, 1, 0] += 1
    same = (model(tokens) == model(changed)).all(dim=-1).all(dim=0)
    assert same.tolist() == [[True, True], [False, True], [True, True]]


def test_time_attention_tells_the_order_of_earlier_tokens(tokens):
    model = TimeAttention(WIDTH, HEADS)
    swapped = tokens[[1, 0, *range(2, TOKENS)]]
    assert not torch.allclose(model(tokens)[-1], model(swapped)[-1], atol=1e-4)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_attention_in_pieces_with_a_cache_is_attention_at_once(pieces):
    model, cache = TimeAttention(WIDTH, HEADS).double(), Cache()
    tokens = torch.randn(sum(pieces), 2, WIDTH, dtype=torch.float64)
    stepwise = torch.cat([model(piece, cache) for piece in tokens.split(pieces)])
    assert cache.length == sum(pieces)
    assert (stepwise - model(tokens)).abs().max() < 1e-12


def test_repeated_cache_holds_each_element_several_times_in_a_row(tokens):
    model, cache = TimeAttention(WIDTH, HEADS), Cache()
    model(tokens, cache)
    repeated = cache.repeat(2)
    for copy, original in ((repeated.keys, cache.keys), (repeated.values, cache.values)):
        assert torch.equal(copy, original[:, [0, 0, 1, 1, 2, 2]])


def test_extending_a_repeated_cache_leaves_the_original(tokens):
    model, cache = TimeAttention(WIDTH, HEADS), Cache()
    model(tokens, cache)
    repeated = cache.repeat(1)
    model(tokens[:1], repeated)
    assert (cache.length, repeated.length) == (TOKENS, TOKENS + 1)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_rotated_products_depend_on_distance_only(first, second, shift):
    q, k = torch.randn(2, 1, 1, WIDTH)
    here, there = ((rotate(q, first + by) * rotate(k, second + by)).sum() for by in (0, shift))
    torch.testing.assert_close(here, there, atol=1e-3, rtol=0)


def test_rotation_keeps_lengths_and_leaves_the_first_position(tokens):
    turned = rotate(tokens, 0)
    torch.testing.assert_close(turned.norm(dim=-1), tokens.norm(dim=-1))
    assert torch.equal(turned[0], tokens[0]) and not torch.equal(turned[1], tokens[1])


def test_rotation_continues_at_its_start(tokens):
    assert torch.equal(rotate(tokens, 0)[3:], rotate(tokens[3:], 3))


def test_rotation_in_half_precision_loses_no_more_than_rounding():
    ones = torch.ones(200, 1, WIDTH)
    difference = rotate(ones.bfloat16(), 0).float() - rotate(ones, 0)
    assert difference.abs().max() < 4 * torch.finfo(torch.bfloat16).eps


def written_out(q, k, v):
    """Softmax attention by its formula, over the axis before the last."""
    return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1) @ v


def test_attention_over_neurons_is_that_of_the_formula():
    model, x = NeuronAttention(WIDTH, HEADS).double(), torch.randn(3, 6, WIDTH, dtype=torch.float64)
    q, k, v = (model.split(to(x)).transpose(1, 2) for to in (model.query, model.key, model.value))
    torch.testing.assert_close(model(x), model.out(written_out(q, k, v).transpose(1, 2).flatten(-2)))


def test_attention_over_time_is_that_of_the_formula_to_all_tokens_so_far(tokens):
    model, tokens = TimeAttention(WIDTH, HEADS).double(), tokens.double()
    q, k = (rotate(model.split(to(tokens)), 0) for to in (model.query, model.key))
    v = model.split(model.value(tokens))
    for token, output in enumerate(model(tokens)):
        newest = slice(token, token + 1)
        queries, keys, values = (each.movedim(0, -2) for each in (q[newest], k[: token + 1], v[: token + 1]))
        torch.testing.assert_close(output, model.out(written_out(queries, keys, values)[..., 0, :].flatten(-2)))


def test_attention_of_batches_is_fused(tokens):
    """On more than one batch axis torch computes all scores without a word: at 957 neurons gigabytes a layer."""
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.no_grad():  # raises where that cannot be
        NeuronAttention(WIDTH, HEADS)(tokens)
        TimeAttention(WIDTH, HEADS)(tokens)


def test_permuting_neurons_permutes_the_output_of_neuron_attention():
    model, neurons = NeuronAttention(WIDTH, HEADS).double(), torch.randn(3, 6, WIDTH, dtype=torch.float64)
    order = torch.randperm(6)
    assert (model(neurons[:, order]) - model(neurons)[:, order]).abs().max() < 1e-12


def test_every_neuron_reaches_every_other_of_its_own_token_only():
    model, neurons = NeuronAttention(WIDTH, HEADS), torch.randn(3, 6, WIDTH)
    changed = neurons.clone()
    changed[1, 2] += torch.rand(WIDTH)
    differs = (model(neurons) != model(changed)).any(dim=-1)
    assert differs[1].all() and not differs[[0, 2]].any()
