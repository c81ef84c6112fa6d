"""iTransformer against its formula written out, against NeuralForecast, and on a linear system."""

import pytest
import torch
import torch.nn.functional as F
from linear_systems import noise_free_session, scores_around_training

from calm.baselines.itransformer import ITransformer
from calm.config.fitting import FitConfig
from calm.config.rivals import ITransformerConfig
from calm.models.interfaces import WindowBatch

CONTEXT, HORIZON, NEURONS = 20, 6, 5
SMALL = ITransformerConfig(width=16, layers=2, heads=4, ffn=24, horizon=HORIZON)


def scramble(model):
    """Give every parameter a value of its own, large enough that attention is not flat."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.5)
    return model


@pytest.fixture
def model():
    return scramble(ITransformer(SMALL, CONTEXT, {})).eval().double()


@pytest.fixture
def contexts():
    return torch.randn(3, NEURONS, CONTEXT, dtype=torch.float64) * 3 + 2


def layer_by_hand(layer, x):
    """One trial, head by head."""
    width, attention = x.shape[-1] // SMALL.heads, layer.self_attn
    queries, keys, values = (x @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=-1)
    mixed = []
    for head in range(SMALL.heads):
        columns = slice(head * width, (head + 1) * width)
        scores = queries[:, columns] @ keys[:, columns].T / width**0.5
        mixed.append(scores.softmax(-1) @ values[:, columns])
    x = norm_by_hand(layer.norm1, x + attention.out_proj(torch.cat(mixed, dim=-1)))
    return norm_by_hand(layer.norm2, x + layer.linear2(F.gelu(layer.linear1(x))))


def norm_by_hand(norm, x):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias


def forecast_by_hand(model, context):
    """The evaluation of one trial."""
    mean = context.mean(dim=-1, keepdim=True)
    sd = ((context - mean).square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    x = (context - mean) / sd @ model.embed.weight.T + model.embed.bias
    for layer in model.encoder[:-1]:
        x = layer_by_hand(layer, x)
    return model.head(norm_by_hand(model.encoder[-1], x)) * sd + mean


@pytest.mark.parametrize("gradients", [True, False])  # without them torch takes another path
def test_forecast_equals_the_formula_written_out(model, contexts, gradients):
    with torch.set_grad_enabled(gradients):
        expected = torch.stack([forecast_by_hand(model, trial) for trial in contexts])
        assert (model(contexts) - expected).abs().max() < 1e-10


def official_weights(theirs, layers):
    """Their weights by our names."""
    state = {name: value.squeeze(-1) for name, value in theirs.state_dict().items()}  # maps there are convolutions
    ours = {}
    for kind in ("weight", "bias"):
        ours[f"embed.{kind}"] = state[f"enc_embedding.value_embedding.{kind}"]
        ours[f"encoder.{layers}.{kind}"] = state[f"encoder.norm.{kind}"]
        ours[f"head.{kind}"] = state[f"projector.{kind}"]
        for layer in range(layers):
            old, new = f"encoder.attn_layers.{layer}", f"encoder.{layer}"
            maps = [state[f"{old}.attention.{name}_projection.{kind}"] for name in ("query", "key", "value", "out")]
            ours[f"{new}.self_attn.in_proj_{kind}"] = torch.cat(maps[:3])
            ours[f"{new}.self_attn.out_proj.{kind}"] = maps[3]
            for part in ("linear1", "linear2", "norm1", "norm2"):
                ours[f"{new}.{part}.{kind}"] = state[f"{old}.{part.replace('linear', 'conv')}.{kind}"]
    return ours


def test_forecast_equals_that_of_neuralforecast():
    config = ITransformerConfig()
    theirs = pytest.importorskip("neuralforecast.models.itransformer").iTransformer(
        h=config.horizon,
        input_size=40,
        n_series=7,
        hidden_size=config.width,
        n_heads=config.heads,
        e_layers=config.layers,
        d_ff=config.ffn,
        dropout=config.dropout,
    )
    ours = ITransformer(config, 40, {})
    scramble(theirs)
    ours.load_state_dict(official_weights(theirs, config.layers))
    contexts = torch.randn(6, 7, 40) * 3 + 1
    expected = theirs.eval().forecast(contexts.transpose(1, 2)).transpose(1, 2)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours.eval()(contexts), expected, atol=1e-5, rtol=0)


def test_permuting_neurons_permutes_the_forecast(model, contexts):
    order = torch.tensor([3, 0, 4, 1, 2])
    assert (model(contexts[:, order]) - model(contexts)[:, order]).abs().max() < 1e-12


def test_every_neuron_reaches_every_other_of_its_own_trial_only(model, contexts):
    changed = contexts.clone()
    changed[1, 2] += torch.randn(CONTEXT)
    differs = (model(changed) != model(contexts)).any(dim=-1)
    assert differs[1].all() and not differs[[0, 2]].any()


def test_moving_and_stretching_a_neuron_moves_and_stretches_its_forecast_only(model, contexts):
    contexts = 1000 * contexts  # the constant under the root does not count
    changed, expected = contexts.clone(), model(contexts).detach()
    changed[:, 2] = changed[:, 2] * 7 + 50
    expected[:, 2] = expected[:, 2] * 7 + 50
    torch.testing.assert_close(model(changed), expected, atol=0, rtol=1e-6)


def test_a_silent_neuron_is_forecast_near_its_constant(model):
    forecast = model(torch.full((1, 1, CONTEXT), 5.0, dtype=torch.float64))
    assert (forecast - 5).abs().max() < 0.1


def test_layers_start_with_weights_of_their_own():
    first, second, _ = ITransformer(SMALL, CONTEXT, {}).encoder
    assert not torch.equal(first.linear1.weight, second.linear1.weight)
    assert not torch.equal(first.self_attn.in_proj_weight, second.self_attn.in_proj_weight)


def test_long_forecasts_are_blocks_that_continue_each_other(model, contexts):
    earlier = torch.cat([torch.randn(3, NEURONS, 9, dtype=torch.float64), contexts], dim=-1)
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
    config = ITransformerConfig(width=32, layers=2, heads=4, ffn=64, dropout=0.0, horizon=10)
    model = ITransformer(config, CONTEXT, {session.name: 8})
    fit_config = FitConfig(steps=270, validate_every=27, learning_rate=3e-3)
    before, after = scores_around_training(model, session, CONTEXT, fit_config, tmp_path)
    assert before < 0.5 and after >= 0.95
