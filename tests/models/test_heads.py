"""Both heads against their equations; the bank, the temporal convolution, and what takes no part."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from calm.config.fitting import FitConfig
from calm.config.models import HeadConfig
from calm.errors import CalmError
from calm.models.heads import NEURONS as SAME
from calm.models.heads import START, FeatureBatch, GLUHead, LinearHead, TemporalConvolution
from calm.training.fit import Objective, fit

TOKENS, TRIALS, NEURONS, CHANNELS, WINDOW, BEHAVIOURS = 6, 3, 4, 5, 3, 2
OUTPUTS = WINDOW * BEHAVIOURS
SMALL = HeadConfig(rank=2, taps=3, look_ahead=WINDOW - 1, dropout=0.5)  # no further than a token
SESSIONS = {"other": 7, "own": NEURONS}


@pytest.fixture(params=[LinearHead, GLUHead])
def head(request):
    """A head in use that knows two sessions; bias and convolution are not at their start."""
    head = request.param(SMALL, CHANNELS, WINDOW, BEHAVIOURS, SESSIONS).double().eval()
    for parameter in (head.bias, head.smooth.weight):
        nn.init.normal_(parameter)
    return head


@pytest.fixture
def features():
    return torch.randn(TOKENS, TRIALS, NEURONS, CHANNELS, dtype=torch.float64)


@pytest.fixture
def batch(features):
    return FeatureBatch("own", features, torch.randn(TRIALS, TOKENS * WINDOW, BEHAVIOURS, dtype=torch.float64))


def linear_output(head, bank, h, o):
    """Eq. 15, term by term."""
    total = head.bias[o]
    for n in range(NEURONS):
        for r in range(SMALL.rank):
            mixed = 0.0
            for c in range(CHANNELS):
                mixed = mixed + h[n, c] * head.mixing[o, r, c]
            total = total + mixed * bank[n, o, r]
    return total


def gated_output(head, bank, h, o):
    """Eq. 16, term by term, without dropout."""
    total = head.bias[o]
    for n in range(NEURONS):
        for r in range(SMALL.rank):
            column, value, gate = o * SMALL.rank + r, 0.0, 0.0
            for c in range(CHANNELS):
                value = value + h[n, c] * head.values[c, column]
                gate = gate + h[n, c] * head.gates[c, column]
            total = total + value * F.gelu(gate) * bank[n, o, r]
    return total


def literal(head, features):
    """The equation of the head at each token and output, put in the order of the frames."""
    bank = head.bank[head.index["own"]] * SAME / NEURONS
    one = linear_output if isinstance(head, LinearHead) else gated_output
    frames = torch.zeros(TRIALS, TOKENS * WINDOW, BEHAVIOURS, dtype=torch.float64)
    for trial, token, o in torch.cartesian_prod(torch.arange(TRIALS), torch.arange(TOKENS), torch.arange(OUTPUTS)):
        behaviour, frame = divmod(int(o), WINDOW)
        frames[trial, token * WINDOW + frame, behaviour] = one(head, bank, features[token, trial], o)
    return frames


@torch.no_grad()
def test_a_head_is_its_equation_then_the_convolution(head, features):
    found = head("own", features)
    assert found.std() > 0.1 and (found - head.smooth(literal(head, features))).abs().max() < 1e-10


@pytest.mark.parametrize("ahead", [-2, 0, 1, 3])
@torch.no_grad()
def test_the_convolution_is_depthwise_and_ends_where_it_should_and_starts_as_the_identity_or_a_delay(ahead):
    values = torch.randn(TRIALS, 9, BEHAVIOURS, dtype=torch.float64)
    smooth = TemporalConvolution(BEHAVIOURS, 4, ahead).double()
    delay = max(0, -ahead)
    assert torch.equal(smooth(values)[:, delay:], values[:, : 9 - delay]) and not smooth(values)[:, :delay].any()
    nn.init.normal_(smooth.weight)
    for frame in range(9):
        read = {tap: frame + ahead - 3 + tap for tap in range(4)}
        expected = sum(smooth.weight[:, 0, tap] * values[:, place] for tap, place in read.items() if 0 <= place < 9)
        assert (smooth(values)[:, frame] - expected).abs().max() < 1e-12


@torch.no_grad()
def test_the_published_convolution_is_centred_and_without_look_ahead_it_is_causal():
    values, weight = torch.randn(TRIALS, 20, BEHAVIOURS), torch.randn(BEHAVIOURS, 1, 9)
    centred, causal = (TemporalConvolution(BEHAVIOURS, 9, ahead) for ahead in (4, 0))
    head = LinearHead(HeadConfig(), 2, 4, 3, {"own": 2})
    assert head.smooth.ahead == 4 and head.smooth.weight.shape == (3, 1, 9)
    for smooth, padding in ((centred, (4, 4)), (causal, (8, 0))):
        smooth.weight.copy_(weight)
        expected = F.conv1d(F.pad(values.transpose(1, 2), padding), weight, groups=BEHAVIOURS).transpose(1, 2)
        assert torch.equal(smooth(values), expected)


def test_a_convolution_that_leaves_the_present_frame_out_is_refused():
    with pytest.raises(CalmError, match="3 taps that end 3 frames ahead leave the present one out"):
        LinearHead(SMALL.changed(look_ahead=WINDOW + 2), CHANNELS, WINDOW, BEHAVIOURS, SESSIONS)


@pytest.mark.parametrize("kind", [LinearHead, GLUHead])
@pytest.mark.parametrize("look_ahead", [0, 1, 2, 3, 5, 8])
def test_no_frame_knows_of_one_beyond_the_look_ahead(kind, look_ahead):
    config = SMALL.changed(taps=9, look_ahead=look_ahead)
    head = kind(config, CHANNELS, WINDOW, BEHAVIOURS, SESSIONS).double().eval()
    nn.init.normal_(head.smooth.weight)
    features = torch.randn(8, 1, NEURONS, CHANNELS, dtype=torch.float64, requires_grad=True)
    decoded = head("own", features)
    for frame in (0, 7, 10, 20):
        (gradient,) = torch.autograd.grad(decoded[0, frame].sum(), features, retain_graph=True)
        # Token k knows the frames up to 3 k + 2.
        reached = gradient.flatten(1).any(dim=1)
        newest = min(7, (frame + look_ahead - (WINDOW - 1)) // WINDOW)
        assert not reached[newest + 1 :].any() and (newest < 0 or reached[newest])


def test_later_tokens_reach_no_frame_of_earlier_ones(head, features):
    changed = features.clone()
    changed[4:] += 1
    before, after = head("own", features), head("own", changed)
    # To rounding: another sum order for another place in the batch is not ruled out.
    assert (before[:, : 4 * WINDOW] - after[:, : 4 * WINDOW]).abs().max() < 1e-12
    assert (before[:, 4 * WINDOW :] - after[:, 4 * WINDOW :]).abs().min() > 1e-6


def test_trials_of_a_batch_do_not_reach_each_other(head, features):
    alone = torch.cat([head("own", features[:, trial, None]) for trial in range(TRIALS)])
    assert (head("own", features) - alone).abs().max() < 1e-12


@torch.no_grad()
def test_permuting_neurons_with_their_rows_changes_nothing(head, features):
    before, order = head("own", features), torch.tensor([2, 0, 3, 1])
    assert (head("own", features[:, :, order]) - before).abs().max() > 1e-3
    rows = head.bank[head.index["own"]]
    rows.copy_(rows[order])
    assert (head("own", features[:, :, order]) - before).abs().max() < 1e-12


def tuned(neurons):
    """Features that follow a few signals, each neuron in its own way, and behaviour that is the first two of them."""
    torch.manual_seed(1)
    signals = torch.randn(5, 20, 4)
    mixed = torch.einsum("tbs,snc->tbnc", signals, torch.randn(4, neurons, CHANNELS))
    behaviour = signals[..., :BEHAVIOURS].repeat_interleave(WINDOW, dim=0).transpose(0, 1)
    return FeatureBatch("own", mixed + torch.randn(mixed.shape), behaviour)


def losses(kind, neurons):
    """Of the first steps of AdamW, averaged over each ten."""
    torch.manual_seed(0)
    head = kind(SMALL.changed(rank=8, dropout=0.0), CHANNELS, WINDOW, BEHAVIOURS, {"own": neurons})
    batch, optimizer, values = tuned(neurons), torch.optim.AdamW(head.parameters(), 1e-3), []
    for _ in range(20):
        loss = head.training_loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return torch.tensor(values).unflatten(0, (-1, 10)).mean(dim=1)


@pytest.mark.parametrize("kind", [LinearHead, GLUHead])
def test_sessions_of_few_and_of_many_neurons_train_alike(kind):
    few, many = losses(kind, 30), losses(kind, 1000)
    assert few[1] < few[0] / 2
    torch.testing.assert_close(many, few, rtol=0.4, atol=0)  # undivided, the loss of many rises to 10 and 14


@pytest.mark.parametrize("kind", [LinearHead, GLUHead])
@pytest.mark.parametrize("neurons", [3, 1000])
@torch.no_grad()
def test_outputs_begin_near_the_mean_whatever_the_number_of_neurons(kind, neurons):
    head = kind(HeadConfig(rank=8), 16, 4, 3, {"own": neurons}).eval()
    outputs = head("own", torch.randn(5, 10, neurons, 16))
    assert START / 2 < outputs.std() < 2 * START


def test_half_precision_features_are_computed_with_in_full(head, features):
    assert head("own", features.half()).dtype == torch.float64
    assert torch.equal(head("own", features.half()), head("own", features.half().double()))


def test_dropout_is_on_the_gated_values_in_training_only(features):
    head = GLUHead(SMALL.changed(dropout=1.0), CHANNELS, WINDOW, BEHAVIOURS, SESSIONS).double()
    assert not head.train()("own", features).any() and head.eval()("own", features).all()


def test_what_was_not_recorded_takes_no_part(head, batch):
    unknown = torch.zeros_like(batch.behaviour, dtype=torch.bool)
    unknown[0], unknown[1, 5:9, 1] = True, True
    hidden = dataclasses.replace(batch, behaviour=batch.behaviour.masked_fill(unknown, torch.nan))
    error = (head("own", batch.features) - batch.behaviour).square()
    loss = head.training_loss(hidden)["loss"]
    assert (
        loss.item() == pytest.approx(error[~unknown].mean().item())
        and head.count_predictions(hidden) == (~unknown).sum()
    )
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters() if parameter.grad is not None)
    changed = hidden.features.clone()
    changed[:, 0] += 1  # of the trial without behaviour
    assert head.training_loss(dataclasses.replace(hidden, features=changed))["loss"].item() == pytest.approx(
        loss.item()
    )


def test_rows_of_other_sessions_have_no_gradient(head, batch):
    head.training_loss(batch)["loss"].backward()
    without = [name for name, parameter in head.named_parameters() if parameter.grad is None]
    assert without == [f"bank.{head.index['other']}"]
    assert all(parameter.grad.any() for parameter in head.parameters() if parameter.grad is not None)


def test_a_training_on_one_session_leaves_the_rows_of_the_others_as_they_are(head, batch, tmp_path):
    before = {name: value.clone() for name, value in head.state_dict().items()}
    task = Objective(lambda step: batch, lambda model: -model.training_loss(batch)["loss"].item())
    config = FitConfig(
        steps=12, validate_every=3, learning_rate=0.05, weight_decay=0.5, weight_ema=0.5, precision="64-true"
    )
    history = fit(head, task, config, seed=0, folder=tmp_path)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    after = head.state_dict()
    assert [name for name in after if torch.equal(after[name].cpu(), before[name])] == [f"bank.{head.index['other']}"]
