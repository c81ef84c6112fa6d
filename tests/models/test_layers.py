"""Causality, equivariance and caching of the shared layers."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from calm.models.layers import Cache, CausalBlock, NeuronAttention, TimeAttention, attend_written_out, rotate

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


@pytest.mark.parametrize("masked", [True, False])
def test_attention_equals_that_of_torch(masked):
    q, k, v = torch.randn(3, 2, HEADS, TOKENS, WIDTH, dtype=torch.float64)
    mask = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril() if masked else None
    fused = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attend_written_out(q, k, v, mask), fused)


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
