"""The fit loop: what it trains, what it keeps, and that an interruption at any moment changes nothing."""

import itertools
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from calm import checkpoint, training
from calm.batches import trace_batches
from calm.checkpoint import load_checkpoint
from calm.config import Config, FitConfig
from calm.dat import DualAxisTransformer
from calm.quantizer import NeuralQuantizer
from calm.tokens import token_batches, tokenize
from calm.training import Task, fit, make_optimizer, schedule

EPOCHS, STEPS = 3, 3
SHORT = 2  # epochs of the runs that are killed
FATAL = {  # what saving a checkpoint calls, and where a kill may hit it
    "save_file": (checkpoint, "save_file"),
    "fsync": (os, "fsync"),
    "rename": (Path, "rename"),
    "rmtree": (shutil, "rmtree"),
}


class Toy(nn.Module):
    """A regression whose loss draws random numbers, and whose buffer and attributes change like a real model's."""

    def __init__(self):
        super().__init__()
        self.config = Config()
        self.map = nn.Linear(3, 2)
        self.embeddings = nn.ParameterList([torch.ones(2), torch.ones(1, 2)])
        self.register_buffer("steps", torch.zeros(()))
        self.trail = []  # weights after each step

    def training_loss(self, batch):
        error = (self.map(batch) + self.embeddings[0] - batch[:, :2] * torch.rand(()) * self.noise).square().mean()
        return {"loss": error, "double": 2 * error}

    def before_epoch(self, epoch, epochs):
        self.noise = 1 + epoch / epochs

    def after_step(self):
        self.steps += 1
        self.trail.append(self.map.weight.detach().clone())


def make_toy():
    torch.manual_seed(0)
    return Toy()


def toy_batches(epoch):
    """Other batches in each epoch, the same for the same epoch."""
    return list(torch.randn(STEPS, 5, 3, generator=torch.Generator().manual_seed(epoch)))


def toy_score(model):
    return -model.training_loss(torch.ones(4, 3))["loss"].item()


def toy_case():
    """Toy, its task and its numbers."""
    config = FitConfig(epochs=EPOCHS, weight_ema=0.5, learning_rate=0.05)
    return make_toy, Task(toy_batches, lambda model: toy_score(with_noise(model))), config


def with_noise(model):
    """A loaded toy has not seen `before_epoch`."""
    model.noise = 1.0
    return model


@pytest.fixture
def toy():
    return toy_case()


@pytest.fixture
def nq(quantizer_config, uneven):
    config = FitConfig(epochs=EPOCHS, rows=20, weight_ema=0.5)
    traces = torch.from_numpy(uneven.traces[1])

    def make():
        torch.manual_seed(0)
        return NeuralQuantizer(quantizer_config)

    def score(model):
        return -model(traces).reconstruction.sub(traces).square().mean().item()

    return make, Task(lambda epoch: trace_batches([uneven], config, 4, seed=epoch), score), config


@pytest.fixture
def dat_case(dat_config, quantizer, uneven):
    config = FitConfig(epochs=EPOCHS, neurons=3, weight_ema=0.5)
    tokens = tokenize(quantizer, uneven)

    def make():
        torch.manual_seed(0)
        return DualAxisTransformer(dat_config, quantizer.codebook.vectors.detach(), {"uneven": 5})

    def score(model):
        batches = token_batches([tokens], config, seed=0)
        return -sum(model.next_token_loss(batch, batch.tokens).item() for batch in batches)

    return make, Task(lambda epoch: token_batches([tokens], config, seed=epoch), score), config


@pytest.fixture(params=["toy", "nq", "dat_case"])
def case(request):
    """Maker of a model, its task and the numbers of the loop."""
    return request.getfixturevalue(request.param)


def run(case, folder, *, task=None, **changes):
    """Fit a new model; returns it with its history."""
    make, usual, config = case
    model = make()
    return model, fit(model, task or usual, config.model_copy(update=changes), seed=0, folder=folder)


def stopping(task, *, epoch=None, validation=None):
    """The task, interrupted when the batches of an epoch are asked for or in a validation."""
    validations = itertools.count()

    def batches(number):
        if number == epoch:
            raise KeyboardInterrupt
        return task.batches(number)

    def validate(model):
        if next(validations) == validation:
            raise KeyboardInterrupt
        return task.validate(model)

    return Task(batches, validate)


def assert_same(first, second):
    """Two runs ended in the same weights and buffers and wrote the same history."""
    (model, history), (other, other_history) = first, second
    states = model.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []
    pd.testing.assert_frame_equal(history, other_history, check_exact=True)


def test_equal_seeds_give_equal_runs_whatever_the_callers_random_state(case, tmp_path):
    first = run(case, tmp_path / "first")
    make, task, config = case
    model = make()
    torch.manual_seed(123)
    assert_same(first, (model, fit(model, task, config, seed=0, folder=tmp_path / "second")))


def test_seed_matters(toy, tmp_path):
    make, task, config = toy
    first, second = make(), make()
    for seed, model in enumerate((first, second)):
        fit(model, task, config, seed=seed, folder=tmp_path / str(seed))
    assert not torch.equal(first.map.weight, second.map.weight)


@pytest.mark.parametrize("where", [{"epoch": 1}, {"epoch": 2}, {"validation": 0}, {"validation": 1}])
def test_resumed_run_is_the_straight_one(case, tmp_path, where):
    straight = run(case, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        run(case, tmp_path / "stopped", task=stopping(case[1], **where))
    assert_same(straight, run(case, tmp_path / "stopped"))


@pytest.mark.parametrize("every", [1, 2, 10])
def test_resumed_run_is_the_straight_one_with_fewer_checkpoints(toy, tmp_path, every):
    straight = run(toy, tmp_path / "straight")
    begun = []
    for stop in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            run(toy, tmp_path / "stopped", task=stopping(toy[1], epoch=stop), checkpoint_every=every)
    task = Task(lambda epoch: begun.append(epoch) or toy[1].batches(epoch), toy[1].validate)
    assert_same(straight, run(toy, tmp_path / "stopped", task=task, checkpoint_every=every))
    assert begun[0] == 2 // every * every


def die_at(number, name, folder):
    """Fit the toy and be killed at the given call of a function that saving uses."""
    owner, attribute = FATAL[name]
    calls, original = itertools.count(1), getattr(owner, attribute)

    def deadly(*arguments, **options):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, attribute, deadly)
    make, task, config = toy_case()
    log = folder.with_suffix(".epoch")
    logged = Task(lambda epoch: log.write_text(str(epoch)) and task.batches(epoch), task.validate)
    fit(make(), logged, config.model_copy(update={"epochs": SHORT}), seed=0, folder=folder)


def kill_everywhere(root):
    """Kill a run at each call of each fatal function; all are forks of this process, which computes nothing itself."""
    for name in FATAL:
        (root / name).mkdir()
        for number in itertools.count(1):
            child = os.fork()
            if child == 0:
                try:
                    die_at(number, name, root / name / str(number))
                    os._exit(0)
                finally:
                    os._exit(1)
            status = os.waitpid(child, 0)[1]
            if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
                assert status == 0
                break


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folders of runs that were killed, by fatal function and its number of calls; the last of each came through."""
    root = tmp_path_factory.mktemp("killed")
    process = multiprocessing.get_context("spawn").Process(target=kill_everywhere, args=(root,))
    process.start()
    process.join()
    assert process.exitcode == 0
    return root


@pytest.mark.parametrize("name", FATAL)
def test_run_killed_at_any_moment_of_any_save_goes_on_to_the_same_end(toy, tmp_path, killed, name):
    straight = run(toy, tmp_path / "straight", epochs=SHORT)
    logs = list((killed / name).glob("*.epoch"))
    assert len(logs) > SHORT
    for log in logs:
        begun = []
        task = Task(lambda epoch, begun=begun: begun.append(epoch) or toy[1].batches(epoch), toy[1].validate)
        assert_same(straight, run(toy, log.with_suffix(""), task=task, epochs=SHORT))
        assert not begun or begun[0] >= int(log.read_text())  # nothing before the last checkpoint is done again


def test_killed_run_leaves_no_half_written_folder_behind_in_the_end(toy, killed):
    run(toy, killed / "fsync" / "6", epochs=SHORT)
    assert [path.name for path in (killed / "fsync" / "6").iterdir()] == ["model"]


def test_training_in_bf16_stays_near_that_in_full_precision(case, tmp_path):
    _, full = run(case, tmp_path / "full")
    _, half = run(case, tmp_path / "half", precision="bf16-mixed")
    np.testing.assert_allclose(half["loss"], full["loss"], rtol=0.05)


def test_finished_run_is_loaded_and_not_trained_again(case, tmp_path):
    first = run(case, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert_same(first, run(case, tmp_path, task=stopping(case[1], epoch=0, validation=0)))


def test_finished_model_is_ready_for_use(case, tmp_path):
    model, history = run(case, tmp_path)
    assert not any(module.training for module in model.modules())
    assert history["epoch"].tolist() == list(range(EPOCHS)) and history[["loss", "val"]].notna().all(axis=None)


def scripted(scores, seen):
    """A task whose validation gives these scores in turn and keeps the weights it saw."""

    def validate(model):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return float(scores[len(seen) - 1])

    return Task(toy_batches, validate)


@pytest.mark.parametrize(
    ("scores", "patience", "length", "best"),
    [
        ([1, 3, 2, 1, 5, 9], 2, 4, 1),
        ([1, 3, 2, 1, 5, 4], 3, 6, 4),
        ([1, 3, 2, 1, 5, 9], 0, 6, 5),
        ([3, 3, 3, 3, 3, 3], 1, 2, 0),
        ([-5, -6, -7, -8, -4, -9], 0, 6, 4),
    ],
)
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_early_stopping_keeps_the_weights_of_the_best_validation(toy, tmp_path, scores, patience, length, best, ema):
    seen = []
    model, history = run(toy, tmp_path, task=scripted(scores, seen), epochs=6, patience=patience, weight_ema=ema)
    assert history["val"].tolist() == scores[:length] and len(seen) == length
    assert all(torch.equal(tensor, seen[best][name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("every", "validated"), [(1, [0, 1, 2, 3, 4]), (2, [1, 3, 4]), (10, [4])])
def test_validation_comes_every_few_epochs_and_at_the_end(toy, tmp_path, every, validated):
    _, history = run(toy, tmp_path, epochs=5, validate_every=every)
    assert history.index[history["val"].notna()].tolist() == validated


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_validated_weights_are_the_moving_average_of_those_after_each_step(toy, tmp_path, decay, monkeypatch):
    seen, models = [], []
    monkeypatch.setattr(training, "make_optimizer", lambda *given: models.append(given[0]) or make_optimizer(*given))
    run(toy, tmp_path, task=scripted([0.0] * EPOCHS, seen), weight_ema=decay)
    averages = [models[0].trail[0]]
    for weights in models[0].trail[1:]:
        averages.append(decay * averages[-1] + (1 - decay) * weights)
    at_validation = averages[STEPS - 1 :: STEPS]
    assert len(models[0].trail) == EPOCHS * STEPS
    for average, state in zip(at_validation, seen, strict=True):
        torch.testing.assert_close(state["map.weight"], average, atol=0 if decay == 0 else 1e-6, rtol=0)
    assert [state["steps"].item() for state in seen] == [STEPS * epoch for epoch in range(1, EPOCHS + 1)]


def test_history_holds_the_mean_of_every_term(toy, tmp_path):
    _, history = run(toy, tmp_path, learning_rate=0.0)
    model = toy[0]()
    for epoch, row in history.iterrows():
        torch.manual_seed(epoch)  # as `fit` does for seed 0
        model.before_epoch(epoch, EPOCHS)
        losses = [model.training_loss(batch)["loss"].item() for batch in toy_batches(epoch)]
        assert row["loss"] == pytest.approx(sum(losses) / STEPS)
        assert row["double"] == pytest.approx(2 * row["loss"])


@given(st.floats(0.01, 0.9))
def test_schedule_rises_linearly_and_falls_along_a_cosine(warmup):
    assert schedule(0.0, warmup) == 0 and schedule(warmup, warmup) == 1
    assert schedule(warmup / 2, warmup) == pytest.approx(0.5)
    assert schedule((1 + warmup) / 2, warmup) == pytest.approx(0.5)
    assert schedule(1.0, warmup) == pytest.approx(0)
    falling = [schedule(warmup + (1 - warmup) * share / 20, warmup) for share in range(21)]
    assert falling == sorted(falling, reverse=True)


def test_without_warmup_the_rate_starts_at_its_peak():
    assert schedule(0.0, 0.0) == 1


def test_rates_follow_the_schedule_step_by_step(toy, tmp_path, monkeypatch):
    rates, step = [], torch.optim.AdamW.step

    def record(optimizer, *arguments, **options):
        rates.append([group["lr"] for group in optimizer.param_groups])
        return step(optimizer, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    run(toy, tmp_path, learning_rate=0.1, warmup=0.25)
    total = EPOCHS * STEPS
    assert len(rates) == total
    for number, of_groups in enumerate(rates):
        assert of_groups == pytest.approx([0.1 * schedule((number + 0.5) / total, 0.25)] * len(of_groups))


@pytest.mark.parametrize("name", ["fresh_quantizer", "dat"])
def test_only_matrices_decay(request, name):
    model = request.getfixturevalue(name)
    config = FitConfig(epochs=1, learning_rate=0.1, weight_decay=0.7)
    groups = make_optimizer(model, config).param_groups
    settings = {id(parameter): group for group in groups for parameter in group["params"]}
    assert len(settings) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for parameter_name, parameter in model.named_parameters():
        group = settings[id(parameter)]
        assert group["weight_decay"] == (0.7 if parameter.ndim > 1 else 0.0), parameter_name


def test_frozen_parameters_stay(toy, tmp_path):
    make, task, config = toy
    model = make()
    model.map.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit(model, task, config, seed=0, folder=tmp_path)
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert sorted(changed) == ["embeddings.0", "steps"]


def test_gradients_are_clipped(toy, tmp_path, monkeypatch):
    norms, step = [], torch.optim.AdamW.step

    def record(optimizer, *arguments, **options):
        gradients = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
        norms.append(sum(gradient.square().sum() for gradient in gradients if gradient is not None).sqrt().item())
        return step(optimizer, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    run(toy, tmp_path, clip=0.01)
    assert norms == pytest.approx([0.01] * EPOCHS * STEPS, rel=1e-3)


@pytest.mark.parametrize("finished", [False, True])
def test_callers_random_state_is_left_as_it_was(toy, tmp_path, finished):
    if finished:
        run(toy, tmp_path)
    model, state = toy[0](), torch.get_rng_state()
    fit(model, toy[1], toy[2], seed=0, folder=tmp_path)
    assert torch.equal(torch.get_rng_state(), state)


def test_saved_model_carries_the_history(toy, tmp_path):
    model, history = run(toy, tmp_path)
    tensors, manifest = load_checkpoint(tmp_path / "model")
    assert manifest["epoch"] == EPOCHS and manifest["best"] == history["val"].max()
    pd.testing.assert_frame_equal(pd.DataFrame(manifest["history"]), history)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())


def test_training_in_double_precision_runs(nq, tmp_path):
    make, task, config = nq
    double = Task(lambda epoch: [batch.double() for batch in task.batches(epoch)], lambda model: 0.0)
    _, history = run((make, double, config), tmp_path, precision="64-true")
    assert history["loss"].notna().all()
