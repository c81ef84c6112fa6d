"""POYO+: its inputs and parameters against the official package, its symmetries, and what it can learn."""

import logging
import math
import warnings

import numpy as np
import pytest
import torch
import torch_brain
from temporaldata import ArrayDict, Data, RegularTimeSeries
from torch_brain.data import collate
from torch_brain.models import CalciumPOYOPlus
from torch_brain.utils import stitch

from calm.baselines.poyo import POYO, READOUT, readout_spec, unit_name, window_starts
from calm.config.fitting import FitConfig
from calm.config.rivals import POYOConfig
from calm.errors import CalmError
from calm.metrics import channel_scores
from calm.models.interfaces import DecodingBatch
from calm.training.fit import Objective, fit

NEURONS = {"first": 7, "second": 5}
SMALL = POYOConfig(width=16, head_width=8, latents=3, latent_step=0.25, depth=2, heads=2)
RATE = 6.0
WINDOW = 6  # frames


def make_model(sessions=NEURONS, config=SMALL, rate=RATE):
    """The same weights each time; in evaluation, and the small ones of the beginning large enough to matter."""
    torch.manual_seed(0)
    model = POYO(config, sessions, 2, rate).eval()
    for part in ("input_value_map", "unit_emb", "session_emb", "task_emb", "latent_emb"):
        torch.nn.init.normal_(model.official.get_submodule(part).weight)
    return model


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def traces():
    return torch.randn(3, NEURONS["second"], WINDOW)


def official_batch(model, traces, behaviour, session):
    """Windows as the official tokeniser and collation make them of the package's data objects."""

    def series(**values):
        return RegularTimeSeries(**values, sampling_rate=RATE, domain_start=0.0)

    units = np.array([unit_name(session, neuron) for neuron in range(traces.shape[1])])
    samples = [
        Data(
            calcium_traces=series(df_over_f=trace.T.numpy()),
            behaviour=series(values=channels.numpy()),
            units=ArrayDict(id=units),
            session=Data(id=session),
            config={"multitask_readout": [{"readout_id": READOUT}]},
            domain="auto",
        )
        for trace, channels in zip(traces, behaviour, strict=True)
    ]
    return collate([model.official.tokenize(sample) for sample in samples])


@pytest.fixture
def official(monkeypatch, model, traces):
    """A batch of the official tokeniser, which looks the readout up among the package's own."""
    monkeypatch.setitem(torch_brain.MODALITY_REGISTRY, READOUT, readout_spec(2))
    return official_batch(model, traces, torch.randn(3, WINDOW, 2), "second")


def test_inputs_are_those_of_the_official_tokeniser_without_its_padding(model, traces, official):
    inputs, ours = official["model_inputs"], model.inputs("second", traces)
    assert inputs.pop("input_mask").sum(dim=1).tolist() == [NEURONS["second"] * WINDOW] * 3
    assert ours.keys() == inputs.keys()
    for name, tensor in inputs.items():
        length = ours[name].shape[1]
        assert ours[name].dtype == tensor.dtype
        assert torch.equal(ours[name].expand_as(tensor[:, :length]), tensor[:, :length]), name
        assert not tensor[:, length:].any()


def test_behaviour_and_loss_are_those_of_the_official_model_on_its_own_inputs(model, traces, official):
    expected, target = model.official(**official["model_inputs"])[READOUT], official["target_values"][READOUT]
    assert (model.decode("second", traces).flatten(0, 1) - expected).abs().max() < 1e-5
    batch = DecodingBatch("second", traces, target.unflatten(0, (3, WINDOW)))
    assert model.training_loss(batch)["loss"].item() == pytest.approx(readout_spec(2).loss_fn(expected, target).item())


def test_parameters_and_buffers_are_those_of_the_official_model(model):
    official = CalciumPOYOPlus(
        sequence_length=1.0,
        readout_specs={READOUT: readout_spec(2)},
        latent_step=SMALL.latent_step,
        num_latents_per_step=SMALL.latents,
        dim=SMALL.width,
        depth=SMALL.depth,
        dim_head=SMALL.head_width,
        self_heads=SMALL.heads,
    )
    official.unit_emb.initialize_vocab([f"{unit}" for unit in range(sum(NEURONS.values()))])
    official.session_emb.initialize_vocab(list(NEURONS))
    expected = {f"official.{name}": tensor for name, tensor in official.state_dict().items() if "vocab" not in name}
    ours = model.state_dict()
    assert [(name, ours[name].shape) for name in ours] == [(name, expected[name].shape) for name in expected]
    assert torch.equal(ours["official.rotary_emb.omega"], expected["official.rotary_emb.omega"])


def test_the_periods_of_the_rotations_grow_with_the_window():
    longest = [
        2 * math.pi / make_model(config=SMALL.changed(window=window)).official.rotary_emb.omega[1].item()
        for window in (1.0, 4.0)
    ]
    assert longest == pytest.approx([2.0627, 4 * 2.0627])


def test_a_rate_that_was_measured_gives_the_same_window_and_latents_as_the_nominal_one(model):
    measured = make_model(rate=5.999999999999989)
    assert measured.window == model.window == WINDOW
    assert torch.equal(measured.latent_timestamps, model.latent_timestamps)
    assert model.latent_timestamps[0, :: SMALL.latents].tolist() == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize(("frames", "window"), [(1, 6), (6, 6), (7, 6), (25, 6), (25, 7), (9, 1), (40, 3)])
def test_windows_cover_every_frame_and_overlap_by_half_but_for_the_last(frames, window):
    starts = window_starts(frames, window)
    covered = {frame for start in starts for frame in range(start, min(start + window, frames))}
    assert covered == set(range(frames))
    assert starts[-1] == max(0, frames - window) and len(set(starts)) == len(starts)
    assert set(np.diff(starts[:-1])) <= {max(1, window // 2)}


@pytest.mark.parametrize("frames", [4, 6, 7, 20])
def test_a_stretch_of_any_length_is_read_as_the_official_evaluation_stitches_windows(model, frames):
    traces = torch.randn(2, NEURONS["first"], frames)
    moments, values = [], []
    for start in window_starts(frames, WINDOW):
        read = model.read_window("first", traces[..., start : start + WINDOW])
        moments.append(torch.arange(start, start + read.shape[1]))
        values.append(read.transpose(0, 1).flatten(1))
    times, expected = stitch(torch.cat(moments), torch.cat(values))
    assert times.tolist() == list(range(frames))
    decoded = model.decode("first", traces)
    assert decoded.dtype == torch.float32
    assert (decoded.transpose(0, 1).flatten(1) - expected).abs().max() < 1e-6


def test_a_frame_is_read_from_its_windows_only(model):
    traces = torch.randn(1, NEURONS["first"], 4 * WINDOW)
    changed = traces.clone()
    changed[..., -1] += 1
    differs = (model.decode("first", changed) != model.decode("first", traces)).any(dim=-1)[0]
    assert differs.tolist() == [False] * 3 * WINDOW + [True] * WINDOW


def test_permuting_neurons_together_with_their_embeddings_changes_nothing(model, traces):
    before, order = model.decode("second", traces), torch.randperm(NEURONS["second"])
    rows = model.first_units["second"] + torch.arange(NEURONS["second"])
    with torch.no_grad():
        table = model.official.unit_emb.weight
        table[rows] = table[rows[order]]
    assert (model.decode("second", traces[:, order]) - before).abs().max() < 1e-5
    assert (model.decode("second", traces) - before).abs().max() > 1e-3


def test_embeddings_of_other_sessions_get_exactly_zero_gradient(model, traces):
    batch = DecodingBatch("second", traces, torch.randn(3, WINDOW, 2))
    model.training_loss(batch)["loss"].backward()
    units, sessions = (
        table.weight.grad.abs().sum(dim=1) for table in (model.official.unit_emb, model.official.session_emb)
    )
    assert (units > 0).tolist() == [False] * (1 + NEURONS["first"]) + [True] * NEURONS["second"]
    assert (sessions > 0).tolist() == [False, False, True]
    rest = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert rest == ["official.token_type_emb.weight"]  # of the spiking model; the calcium model does not use it


def test_embeddings_are_the_parameters_that_belong_to_sessions(model):
    belong = {name: weight for name, weight in model.named_parameters() if name.startswith(POYO.session_parameters)}
    assert {name: weight.shape for name, weight in belong.items()} == {
        "official.unit_emb.weight": (1 + 7 + 5, 8),
        "official.session_emb.weight": (1 + 2, 16),
    }


def test_a_model_for_new_sessions_takes_over_all_but_their_embeddings(model, traces):
    adapted = make_model({"new": 4})
    own = {
        name: tensor.clone()
        for name, tensor in adapted.state_dict().items()
        if name.startswith(POYO.session_parameters)
    }
    shared = {
        name: tensor for name, tensor in model.state_dict().items() if not name.startswith(POYO.session_parameters)
    }
    assert adapted.load_state_dict(shared, strict=False).missing_keys == list(own)
    after = adapted.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in {**shared, **own}.items())


def test_all_inputs_lie_where_the_traces_and_the_model_are(model, traces):
    inputs = model.to("meta").inputs("second", traces.to("meta"))
    assert {tensor.device.type for tensor in inputs.values()} == {"meta"}


def test_making_and_using_a_model_says_nothing_and_leaves_the_package_as_it_was(traces, caplog):
    registered, handlers = dict(torch_brain.MODALITY_REGISTRY), list(logging.getLogger().handlers)
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        # 1 % 0.1 is 0.0999..., which the package takes for a step that does not fit.
        make_model(config=SMALL.changed(latent_step=0.1)).decode("second", traces)
    assert not caplog.records
    assert registered == torch_brain.MODALITY_REGISTRY and logging.getLogger().handlers == handlers


@pytest.mark.parametrize("look_ahead", [0, 1, 4])
def test_limited_frames_are_read_from_the_window_that_ends_at_the_look_ahead_of_the_first(model, look_ahead):
    traces, limited = torch.randn(2, NEURONS["second"], 15), model.limited(look_ahead)
    padded = torch.nn.functional.pad(traces, (WINDOW, WINDOW))
    decoded = limited.decode("second", traces)
    for frame in range(15):
        later = frame % min(4, look_ahead + 1)
        end = WINDOW + frame - later + look_ahead + 1
        expected = model.read_window("second", padded[..., end - WINDOW : end])[:, WINDOW - 1 - look_ahead + later]
        assert (decoded[:, frame] - expected).abs().max() < 1e-5
    assert decoded.shape == (2, 15, 2) and model.look_ahead is None
    assert limited.official is model.official  # the weights are shared


@pytest.mark.parametrize("look_ahead", [0, 1, 4])
def test_limited_it_has_no_gradient_from_frames_beyond_the_look_ahead(model, look_ahead):
    traces = torch.randn(1, NEURONS["second"], 15, requires_grad=True)
    decoded = model.limited(look_ahead).decode("second", traces)
    for frame in (0, 7, 12):
        (gradient,) = torch.autograd.grad(decoded[0, frame].sum(), traces, retain_graph=True)
        newest = min(frame - frame % min(4, look_ahead + 1) + look_ahead, 14)
        assert not gradient[..., newest + 1 :].any() and gradient[..., newest].any()


@pytest.mark.parametrize("look_ahead", [WINDOW - 1, WINDOW, 20])
def test_windows_that_end_before_the_look_ahead_stay_as_they_are(model, look_ahead):
    traces = torch.randn(1, NEURONS["second"], 15)
    assert torch.equal(model.limited(look_ahead).decode("second", traces), model.decode("second", traces))


def test_a_session_that_it_was_not_made_for_is_refused(model, traces):
    with pytest.raises(CalmError, match="not trained on session 'third', only on first, second"):
        model.decode("third", traces)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"width": 15}, "`width`"), ({"head_width": 6}, "`head_width`"), ({"window": 0.05}, "enlarge `window`")],
)
def test_sizes_that_the_official_modules_cannot_take_are_refused(changes, message):
    with pytest.raises(CalmError, match=message):
        make_model(config=SMALL.changed(**changes))


# Two sessions of different size, in which the behaviour is a linear readout of the traces, another one in each.

TOY = {"small": 6, "large": 10}
TOY_RATE, TOY_FRAMES, TOY_TRIALS = 10.0, 30, 60
DROPOUT = ("ffn_dropout", "linear_dropout", "attention_dropout")
TOY_CONFIG = POYOConfig(
    width=32, head_width=16, latents=8, latent_step=0.5, depth=1, heads=2, **dict.fromkeys(DROPOUT, 0.0)
)
TOY_FIT = FitConfig(steps=240, learning_rate=5e-3, weight_decay=1e-4, validate_every=80)


def toy_session(neurons, seed):
    """Traces "trial neuron frame" are mixtures of slow waves of random phase; behaviour "trial frame behaviour"."""
    rng = np.random.default_rng(seed)
    phases, speeds = rng.uniform(0, 2 * np.pi, (TOY_TRIALS, 3, 1)), np.array([0.15, 0.25, 0.4])[:, None]
    waves = np.sin(phases + speeds * np.arange(TOY_FRAMES))
    traces = rng.normal(size=(neurons, 3)) @ waves + 0.1 * rng.normal(size=(TOY_TRIALS, neurons, TOY_FRAMES))
    traces /= traces.std(axis=(0, 2), keepdims=True)
    behaviour = traces.transpose(0, 2, 1) @ rng.normal(size=(neurons, 2))
    return traces.astype(np.float32), (behaviour / behaviour.std(axis=(0, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def toy():
    return {name: toy_session(neurons, seed) for seed, (name, neurons) in enumerate(TOY.items())}


def toy_batch(toy, step, window=10, size=40):
    """A window of each of the first trials of one of both sessions; the same for the same step."""
    name = list(toy)[step % 2]
    traces, behaviour = toy[name]
    start = np.random.default_rng(step).integers(TOY_FRAMES - window + 1)
    cut = torch.from_numpy(traces[:size, :, start : start + window])
    return DecodingBatch(name, cut, torch.from_numpy(behaviour[:size, start : start + window]))


@torch.no_grad()
def toy_r2(model, toy, trials):
    """Over all frames of some trials, mean over sessions and channels."""
    scores = []
    for name, (traces, behaviour) in toy.items():
        decoded = model.decode(name, torch.from_numpy(traces[trials])).numpy()
        scores.append(channel_scores(behaviour[trials].reshape(-1, 2), decoded.reshape(-1, 2))["r2"].mean())
    return float(np.mean(scores))


def new_toy(config):
    torch.manual_seed(0)
    return POYO(config, TOY, 2, TOY_RATE)


def train(toy, folder, config=TOY_CONFIG, **changes):
    model = new_toy(config)
    task = Objective(lambda step: toy_batch(toy, step), lambda candidate: toy_r2(candidate, toy, slice(40, 50)))
    fit(model, task, TOY_FIT.changed(**changes), seed=0, folder=folder)
    return model


def test_it_learns_to_read_the_behaviour_of_two_sessions_of_different_size(toy, tmp_path):
    model = train(toy, tmp_path / "run")
    assert toy_r2(model, toy, slice(50, 60)) > 0.8


def test_a_training_is_the_same_at_each_run_and_found_again_by_a_fresh_model(toy, tmp_path, monkeypatch):
    config = TOY_CONFIG.changed(**dict.fromkeys(DROPOUT, 0.2))
    first, second = (train(toy, tmp_path / name, config, steps=8).state_dict() for name in ("first", "second"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    monkeypatch.setattr("calm.training.fit.Run.train", lambda *_: pytest.fail("trained again"))
    again = train(toy, tmp_path / "first", config, steps=8).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["official.unit_emb.weight"], new_toy(config).official.unit_emb.weight)
