"""POCO: its parameters and computation against the published architecture, its symmetries, and what it can learn."""

import dataclasses

import numpy as np
import pytest
import torch
from linear_systems import correlation, noise_free_session
from slow_poco import CONTEXT, HORIZON, SMALL, Weights, frequencies, slow_forecast

from calm.baselines.poco import POCO
from calm.config.fitting import FitConfig
from calm.config.rivals import POCOConfig
from calm.errors import CalmError
from calm.models.interfaces import WindowBatch
from calm.training.batches import window_batches
from calm.training.fit import Objective, fit

NEURONS = {"first": 3, "second": 4}

# Of the authors' code, for one session of 200 neurons, context 40, horizon 60 and tokens of 8 frames.
PUBLISHED_SHAPES = """
decoder.input_proj.weight 128 8
decoder.input_proj.bias 128
decoder.unit_emb.weight 200 128
decoder.session_emb.weight 1 128
decoder.latent_emb.weight 8 128
decoder.dataset_emb.weight 1 128
decoder.perceiver_io.rotary_emb.inv_freq 32
decoder.perceiver_io.enc_atn.norm.weight 128
decoder.perceiver_io.enc_atn.norm.bias 128
decoder.perceiver_io.enc_atn.norm_context.weight 128
decoder.perceiver_io.enc_atn.norm_context.bias 128
decoder.perceiver_io.enc_atn.to_q.weight 64 128
decoder.perceiver_io.enc_atn.to_kv.weight 128 128
decoder.perceiver_io.enc_atn.to_out.weight 128 64
decoder.perceiver_io.enc_atn.to_out.bias 128
decoder.perceiver_io.enc_ffn.0.weight 128
decoder.perceiver_io.enc_ffn.0.bias 128
decoder.perceiver_io.enc_ffn.1.net.0.weight 1024 128
decoder.perceiver_io.enc_ffn.1.net.0.bias 1024
decoder.perceiver_io.enc_ffn.1.net.3.weight 128 512
decoder.perceiver_io.enc_ffn.1.net.3.bias 128
decoder.perceiver_io.proc_layers.0.0.norm.weight 128
decoder.perceiver_io.proc_layers.0.0.norm.bias 128
decoder.perceiver_io.proc_layers.0.0.to_qkv.weight 3072 128
decoder.perceiver_io.proc_layers.0.0.to_out.weight 128 1024
decoder.perceiver_io.proc_layers.0.0.to_out.bias 128
decoder.perceiver_io.proc_layers.0.1.0.weight 128
decoder.perceiver_io.proc_layers.0.1.0.bias 128
decoder.perceiver_io.proc_layers.0.1.1.net.0.weight 1024 128
decoder.perceiver_io.proc_layers.0.1.1.net.0.bias 1024
decoder.perceiver_io.proc_layers.0.1.1.net.3.weight 128 512
decoder.perceiver_io.proc_layers.0.1.1.net.3.bias 128
decoder.perceiver_io.dec_atn.norm.weight 128
decoder.perceiver_io.dec_atn.norm.bias 128
decoder.perceiver_io.dec_atn.norm_context.weight 128
decoder.perceiver_io.dec_atn.norm_context.bias 128
decoder.perceiver_io.dec_atn.to_q.weight 64 128
decoder.perceiver_io.dec_atn.to_kv.weight 128 128
decoder.perceiver_io.dec_atn.to_out.weight 128 64
decoder.perceiver_io.dec_atn.to_out.bias 128
decoder.perceiver_io.dec_ffn.0.weight 128
decoder.perceiver_io.dec_ffn.0.bias 128
decoder.perceiver_io.dec_ffn.1.net.0.weight 1024 128
decoder.perceiver_io.dec_ffn.1.net.0.bias 1024
decoder.perceiver_io.dec_ffn.1.net.3.weight 128 512
decoder.perceiver_io.dec_ffn.1.net.3.bias 128
in_proj.0.weight 1024 40
in_proj.0.bias 1024
conditioning_alpha.weight 1024 128
conditioning_alpha.bias 1024
conditioning_beta.weight 1024 128
conditioning_beta.bias 1024
out_proj.weight 60 1024
out_proj.bias 60
"""


@pytest.fixture(scope="module")
def published():
    """The size of the comparison on simulation."""
    return POCO(POCOConfig(horizon=60), 40, {"only": 200})


def randomised(config=SMALL):
    """In double precision and evaluation, every parameter random and large enough to matter."""
    model = POCO(config, CONTEXT, NEURONS).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


@pytest.fixture
def model():
    return randomised()


@pytest.fixture
def contexts():
    return torch.randn(2, NEURONS["second"], CONTEXT, dtype=torch.float64)


def test_names_and_shapes_of_the_parameters_are_those_of_the_authors_code(published):
    lines = [" ".join([name, *map(str, tensor.shape)]) for name, tensor in published.state_dict().items()]
    assert lines == PUBLISHED_SHAPES.split("\n")[1:-1]


def test_number_of_parameters_is_that_of_the_authors_code(published):
    counts = {name: sum(each.numel() for each in part.parameters()) for name, part in published.named_children()}
    assert counts == {
        "decoder": 1_213_568,
        "in_proj": 41_984,
        "conditioning_alpha": 132_096,
        "conditioning_beta": 132_096,
        "out_proj": 61_500,
    }
    assert sum(parameter.numel() for parameter in published.parameters()) == 1_581_244


def test_embeddings_begin_small_and_the_conditioning_at_zero(published):
    for table in ("unit_emb", "session_emb", "latent_emb", "dataset_emb"):
        weight = getattr(published.decoder, table).weight
        assert weight.std().item() == pytest.approx(0.02, rel=4 / (2 * weight.numel()) ** 0.5)
    for conditioning in (published.conditioning_alpha, published.conditioning_beta):
        assert not conditioning.weight.any() and not conditioning.bias.any()


def test_the_first_forecast_is_the_output_bias_whatever_the_input(published):
    forecast = published.forecast("only", torch.randn(2, 200, 40), 60)
    assert torch.equal(forecast, published.out_proj.bias.expand(2, 200, 60))


@pytest.mark.parametrize(("session", "row", "first_unit"), [("first", 0, 0), ("second", 1, 3)])
def test_it_computes_the_published_architecture(model, session, row, first_unit):
    exact = torch.tensor(frequencies(), dtype=torch.float64)
    torch.testing.assert_close(model.decoder.perceiver_io.rotary_emb.inv_freq, exact, rtol=1e-6, atol=0)
    model.decoder.perceiver_io.rotary_emb.inv_freq.copy_(exact)  # torch makes them in single precision
    contexts = torch.randn(2, NEURONS[session], CONTEXT, dtype=torch.float64)
    forecast = model(session, contexts)
    slow = torch.stack([slow_forecast(Weights(model), context, row, first_unit) for context in contexts])
    assert slow.std() > 1 and (forecast - slow).abs().max() < 1e-10 * slow.abs().max()


def test_permuting_neurons_with_their_embeddings_permutes_the_forecast(model, contexts):
    order, before = torch.tensor([2, 0, 3, 1]), model("second", contexts)
    without_them = model("second", contexts[:, order])
    own = model.decoder.unit_emb.weight.data[model.units["second"]]
    own.copy_(own[order])
    after = model("second", contexts[:, order])
    assert (after - before[:, order]).abs().max() < 1e-12 * before.abs().max()
    assert (without_them - before[:, order]).abs().max() > 1e-2


def test_the_past_of_one_neuron_reaches_the_forecast_of_every_other(model, contexts):
    changed = contexts.clone()
    changed[:, 0, 2] += 1
    assert ((model("second", changed) - model("second", contexts)).abs().amax(-1) > 1e-6).all()


def test_trials_of_a_batch_do_not_reach_each_other(model, contexts):
    changed = contexts.clone()
    changed[0] += 1
    before, after = model("second", contexts), model("second", changed)
    assert (before[1] - after[1]).abs().max() < 1e-12 * before.abs().max() < (before[0] - after[0]).abs().max()


def test_only_the_rows_of_the_trained_session_have_a_gradient(model):
    model.training_loss(WindowBatch("second", torch.randn(2, 4, model.window, dtype=torch.float64)))["loss"].backward()
    units, sessions = model.decoder.unit_emb.weight.grad, model.decoder.session_emb.weight.grad
    assert units.any(dim=1).tolist() == [False] * 3 + [True] * 4 and sessions.any(dim=1).tolist() == [False, True]


def test_dropout_of_the_latents_silences_their_layers_and_nothing_else(contexts):
    config = SMALL.changed(dropout=1.0, ffn_dropout=0.0)
    silenced, without = randomised(config).train(), randomised(config.changed(layers=0))
    without.load_state_dict(silenced.state_dict(), strict=False)
    expected = without("second", contexts)
    torch.testing.assert_close(silenced("second", contexts), expected, rtol=1e-12, atol=1e-12)
    assert (silenced.eval()("second", contexts) - expected).abs().max() > 1e-2


def test_dropout_of_the_feed_forward_maps_leaves_their_output_bias(contexts):
    dropped = randomised(SMALL.changed(dropout=0.0, ffn_dropout=1.0)).train()
    forecast = dropped("second", contexts)
    for name, parameter in dropped.named_parameters():
        if name.endswith("net.3.weight"):
            torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(forecast, dropped.eval()("second", contexts), rtol=1e-12, atol=1e-12)


def test_loss_is_the_mean_squared_error_of_the_frames_after_the_context(model):
    traces = torch.randn(2, 3, CONTEXT + HORIZON, dtype=torch.float64)
    assert model.window == CONTEXT + HORIZON
    error = model("first", traces[..., :CONTEXT]) - traces[..., CONTEXT:]
    loss = model.training_loss(WindowBatch("first", traces))["loss"]
    torch.testing.assert_close(loss, error.square().sum() / (2 * 3 * HORIZON))


@pytest.mark.parametrize("horizon", [1, 3, HORIZON])
def test_forecast_is_the_beginning_of_the_fixed_one_from_the_last_frames(model, contexts, horizon):
    longer = torch.cat([torch.randn(2, 4, 3, dtype=torch.float64), contexts], dim=-1)
    fixed, forecast = model("second", contexts), model.forecast("second", longer, horizon)
    assert forecast.shape[-1] == horizon
    assert (forecast - fixed[..., :horizon]).abs().max() < 1e-12 * fixed.abs().max()


def test_a_longer_horizon_than_the_trained_one_is_refused(model, contexts):
    with pytest.raises(CalmError, match="larger `horizon`"):
        model.forecast("second", contexts, HORIZON + 1)


def test_an_unknown_session_is_refused(model, contexts):
    with pytest.raises(CalmError, match="'third', only on first, second"):
        model.forecast("third", contexts, HORIZON)
    with pytest.raises(CalmError, match="'third'"):
        model.training_loss(WindowBatch("third", torch.randn(2, 4, model.window, dtype=torch.float64)))


def test_a_context_that_ends_within_a_token_is_refused():
    with pytest.raises(CalmError, match="`compression`"):
        POCO(SMALL, CONTEXT + 1, NEURONS)


def test_it_learns_two_linear_systems_at_once(tmp_path):
    sessions = [
        dataclasses.replace(noise_free_session(neurons=neurons, seed=neurons), name=f"of {neurons}")
        for neurons in (8, 5)
    ]
    sizes = {"width": 16, "latents": 4, "heads": 2, "head_width": 8, "hidden": 64, "compression": 4, "horizon": 20}
    model = POCO(POCOConfig(**sizes, dropout=0.0, ffn_dropout=0.0), 20, {"of 8": 8, "of 5": 5})

    def score(network, split):
        return float(np.mean([correlation(network, session, 20, split) for session in sessions]))

    before = score(model, "test")
    config = FitConfig(steps=360, rows=128, learning_rate=1e-2, validate_every=90)
    batches = window_batches(sessions, model.window, config, seed=0)
    fit(model, Objective(batches, lambda network: score(network, "val")), config, seed=0, folder=tmp_path)
    assert before < 0.5 and min(correlation(model, session, 20) for session in sessions) >= 0.95
