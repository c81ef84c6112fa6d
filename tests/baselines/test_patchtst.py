"""PatchTST against its formula written out, against NeuralForecast, and on a linear system."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_systems import noise_free_session, scores_around_training

from calm.baselines.patchtst import ChannelNorm, PatchTST, cut_patches
from calm.config.fitting import FitConfig
from calm.config.rivals import PatchTSTConfig
from calm.errors import CalmError
from calm.models.interfaces import WindowBatch

CONTEXT, HORIZON = 20, 6
SMALL = PatchTSTConfig(width=16, layers=2, heads=4, ffn=24, horizon=HORIZON)

OURS_BY_THEIRS = {
    "backbone.W_P": "embed",
    "backbone.W_pos": "positions",
    "backbone.encoder.layers": "layers",
    "self_attn.W_Q": "attention.query",
    "self_attn.W_K": "attention.key",
    "self_attn.W_V": "attention.value",
    "self_attn.to_out.0": "attention.out",
    "norm_attn.1": "norm_attention",
    "ff.0": "expand",
    "ff.3": "out",
    "norm_ffn.1": "norm_ffn",
    "head.linear": "head",
}


def scramble(model):
    """Give every parameter and running statistic a value of its own, large enough that attention is not flat."""
    for parameter in model.parameters():
        if parameter.requires_grad:  # NeuralForecast also keeps a constant among them
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.5)
    for name, statistic in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            torch.nn.init.uniform_(statistic, 0.5, 2.0)
    return model


@pytest.fixture
def model():
    return scramble(PatchTST(SMALL, CONTEXT, {})).eval().double()


@pytest.fixture
def contexts():
    return torch.randn(3, 5, CONTEXT, dtype=torch.float64) * 3 + 2


def attend_by_hand(attention, x, previous):
    """One row, head by head."""
    width = x.shape[-1] // attention.heads
    mixed, scores = [], []
    for head in range(attention.heads):
        rows = slice(head * width, (head + 1) * width)
        q, k, v = (x @ to.weight[rows].T + to.bias[rows] for to in (attention.query, attention.key, attention.value))
        scores.append(q @ k.T / width**0.5 + previous[head])
        mixed.append(scores[-1].softmax(-1) @ v)
    return torch.cat(mixed, dim=-1) @ attention.out.weight.T + attention.out.bias, scores


def normalise_by_hand(norm, x):
    return (x - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias


def forecast_by_hand(model, context):
    """The evaluation of one neuron of one trial."""
    mean, sd = context.mean(), (context.var(correction=0) + 1e-5).sqrt()
    padded = torch.cat([(context - mean) / sd, ((context[-1] - mean) / sd).repeat(4)])
    patches = torch.stack([padded[start : start + 8] for start in range(0, len(padded) - 7, 4)])
    x, scores = model.embed(patches) + model.positions, [0.0] * SMALL.heads
    for layer in model.layers:
        mixed, scores = attend_by_hand(layer.attention, x, scores)
        x = normalise_by_hand(layer.norm_attention, x + mixed)
        x = normalise_by_hand(layer.norm_ffn, x + layer.out(F.gelu(layer.expand(x))))
    return model.head(x.T.flatten()) * sd + mean


def test_forecast_equals_the_formula_written_out(model, contexts):
    expected = torch.stack([torch.stack([forecast_by_hand(model, neuron) for neuron in trial]) for trial in contexts])
    assert (model(contexts) - expected).abs().max() < 1e-10


def official_pair(**sizes):
    """The official backbone as NeuralForecast has it, and ours with the same weights."""
    theirs = pytest.importorskip("neuralforecast.models.patchtst").PatchTST_backbone(
        c_in=1, c_out=1, affine=False, padding_patch="end", **sizes
    )
    config = PatchTSTConfig(
        patch=sizes["patch_len"],
        stride=sizes["stride"],
        width=sizes["hidden_size"],
        layers=sizes["n_layers"],
        heads=sizes["n_heads"],
        ffn=sizes["linear_hidden_size"],
        dropout=sizes["dropout"],
        horizon=sizes["h"],
    )
    ours, weights = PatchTST(config, sizes["input_size"], {}), {}
    for name, value in scramble(theirs).state_dict().items():
        if not name.endswith("sdp_attn.scale"):  # the constant 1/sqrt(width of a head)
            for old, new in OURS_BY_THEIRS.items():
                name = name.replace(old, new)
            weights[name] = value
    ours.load_state_dict(weights)
    return theirs, ours


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize(("context", "stride"), [(40, 4), (37, 3)])
def test_forecast_equals_that_of_neuralforecast(context, stride, training):
    sizes = {"hidden_size": 128, "n_heads": 8, "n_layers": 3, "linear_hidden_size": 256, "dropout": 0.1}
    theirs, ours = official_pair(input_size=context, h=20, patch_len=8, stride=stride, **sizes)
    contexts, outputs = torch.randn(6, 1, context) * 3 + 1, []
    for each in (theirs, ours):
        torch.manual_seed(1)  # the same dropout in both
        outputs.append(each.train(training)(contexts))
    assert outputs[0].std() > 0.1
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-5, rtol=0)


def test_forty_frames_are_ten_patches_whose_last_holds_the_repeated_end():
    patches = cut_patches(torch.arange(40.0).expand(1, 1, -1), 8, 4)[0, 0]
    assert patches.shape == (10, 8)
    assert patches[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert patches[8].tolist() == [32, 33, 34, 35, 36, 37, 38, 39]
    assert patches[9].tolist() == [36, 37, 38, 39, 39, 39, 39, 39]
    assert len(PatchTST(PatchTSTConfig(), 40, {}).positions) == 10


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 40))
def test_every_context_of_at_least_a_patch_is_forecast(patch, stride, more):
    config = SMALL.changed(patch=patch, stride=stride)
    context = patch + more
    assert PatchTST(config, context, {}).eval()(torch.randn(1, 2, context)).shape == (1, 2, HORIZON)


def test_a_context_shorter_than_a_patch_is_refused():
    with pytest.raises(CalmError, match="need 8 frames"):
        PatchTST(SMALL, 7, {})


def test_normalisation_is_undone_exactly(model, contexts):
    context = contexts[:1, :1]
    values = context.numpy().ravel()
    torch.nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.from_numpy((values - values.mean()) / np.sqrt(values.var() + 1e-5))[-HORIZON:]
    assert (model(context) - context[..., -HORIZON:]).abs().max() < 1e-14


def test_moving_and_stretching_a_context_moves_and_stretches_its_forecast(model, contexts):
    contexts = 1000 * contexts  # the constant under the root does not count
    torch.testing.assert_close(model(contexts + 70), model(contexts) + 70, atol=0, rtol=1e-9)
    torch.testing.assert_close(model(contexts * 7), model(contexts) * 7, atol=0, rtol=1e-6)


def test_a_silent_neuron_is_forecast_near_its_constant(model):
    forecast = model(torch.full((1, 1, CONTEXT), 5.0, dtype=torch.float64))
    assert (forecast - 5).abs().max() < 0.1


def test_neurons_do_not_influence_each_other(model, contexts):
    changed = contexts.clone()
    changed[1, 2] += torch.randn(CONTEXT)
    differs = (model(changed) != model(contexts)).any(dim=-1)
    assert differs.nonzero().tolist() == [[1, 2]]


def test_in_evaluation_the_rest_of_the_batch_does_not_matter(model, contexts):
    assert (model(contexts)[:1] - model(contexts[:1])).abs().max() < 1e-12
    model.train()
    model.drop.p = 0.0
    for layer in model.layers:
        layer.drop.p = 0.0
    assert (model(contexts)[:1] - model(contexts[:1])).abs().max() > 1e-3


def test_channels_are_normalised_over_rows_and_tokens():
    norm, x = ChannelNorm(4), torch.randn(6, 5, 4) * 3 + 1
    out = norm(x)
    torch.testing.assert_close(out.mean(dim=(0, 1)), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(out.var(dim=(0, 1), correction=0), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean(dim=(0, 1)))


def test_long_forecasts_are_blocks_that_continue_each_other(model, contexts):
    earlier = torch.cat([torch.randn(3, 5, 9, dtype=torch.float64), contexts], dim=-1)
    forecast = model.forecast("any", earlier, 2 * HORIZON + 1)
    frames = contexts
    for _ in range(3):
        frames = torch.cat([frames, model(frames[..., -CONTEXT:])], dim=-1)
    assert torch.equal(forecast, frames[..., CONTEXT : CONTEXT + 2 * HORIZON + 1])
    assert torch.equal(model.forecast("any", contexts, 2), forecast[..., :2])


def test_loss_is_the_error_of_the_forecast_of_the_windows_end(model):
    traces = torch.randn(4, 3, model.window, dtype=torch.float64)
    forecast = model.forecast("any", traces[..., :CONTEXT], HORIZON)
    loss = model.training_loss(WindowBatch("any", traces))["loss"]
    torch.testing.assert_close(loss, (forecast - traces[..., -HORIZON:]).square().mean())


def test_it_learns_a_linear_system(tmp_path):
    session = noise_free_session()
    config = PatchTSTConfig(width=32, layers=2, heads=4, ffn=64, dropout=0.0, horizon=10)
    model = PatchTST(config, CONTEXT, {session.name: 8})
    fit_config = FitConfig(steps=270, validate_every=27, learning_rate=3e-3)
    before, after = scores_around_training(model, session, CONTEXT, fit_config, tmp_path)
    assert before < 0.5 and after >= 0.95
