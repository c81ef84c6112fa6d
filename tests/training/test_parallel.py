"""Several processes (Fabric, gloo) train what one does, and go on from each other."""

import multiprocessing
import os
import shutil
import socket
import sys

import pytest
import torch
from parallel_cases import CASES, FIT, GROUPS, group_objective, new_transformer, one_of_several, tokens_of, train

from calm.errors import CalmError
from calm.storage import load_checkpoint
from calm.training.fit import Run
from calm.training.parallel import group_sessions, groups_here


@pytest.fixture(autouse=True, scope="module")
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def start(count, root):
    """The cases in processes of their own, forks of one that has loaded everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["parallel_cases"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [context.Process(target=one_of_several, args=(rank, count, port, root)) for rank in range(count)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the server does not take over `sys.path`
        for process in processes:
            process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of one process's run, of two processes' and four's, and of those that changed their number."""
    root = tmp_path_factory.mktemp("runs")
    for kind in CASES:
        train(kind, root / "1")
        train(kind, root / "1-then-2", stop=5)
        assert not (root / "1-then-2" / kind / "model").exists()
        shutil.copytree(root / "1-then-2" / kind, root / "1-then-4" / kind)
    for count in (2, 4):
        start(count, root)
        for kind in CASES:
            assert not (root / f"{count}-then-1" / kind / "model").exists()
            train(kind, root / f"{count}-then-1")
    return root


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("name", ["2", "4", "1-then-2", "1-then-4", "2-then-1", "4-then-1"])
def test_any_number_of_processes_ends_with_the_weights_of_one(runs, kind, name):
    (expected, manifest), (tensors, other) = (load_checkpoint(runs / each / kind / "model") for each in ("1", name))
    assert tensors.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(tensors[key], tensor, atol=1e-10, rtol=0, msg=key)
    assert len(manifest["history"]) == FIT.steps / FIT.validate_every
    for row, other_row in zip(manifest["history"], other["history"], strict=True):
        assert {**row, "seconds": 0} == pytest.approx({**other_row, "seconds": 0}, abs=1e-10)


def test_every_session_was_trained_and_codes_were_revived(runs):
    trained, begun = load_checkpoint(runs / "1" / "transformer" / "model")[0], new_transformer().state_dict()
    assert not [name for name in begun if "embeddings" in name and torch.equal(trained[name], begun[name])]
    queued = load_checkpoint(runs / "1" / "quantizer" / "model")[0]["codebook.queued"]
    assert queued > 0


def test_a_step_takes_the_mean_over_the_predictions_of_all_groups(tmp_path, monkeypatch):
    model = new_transformer()
    model.config = model.config.changed(scheduled_sampling=0, replacement=0, dropout=0)
    for layer in model.layers:
        layer.drop.p = 0.0
    objectives = [group_objective(number, tokens_of, None, None) for number in range(len(GROUPS))]
    batches = [each.batch(0) for each in objectives]
    counts = [model.count_predictions(batch) for batch in batches]
    assert len(set(counts)) > 1
    losses = [model.training_loss(batch)["loss"] for batch in batches]
    (sum(count * loss for count, loss in zip(counts, losses, strict=True)) / sum(counts)).backward()
    expected = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    run = Run(model, objectives, FIT.changed(clip=1e9), 0, tmp_path)
    monkeypatch.setattr(run.optimizer, "step", lambda: None)
    run.step(list(zip(batches, counts, strict=True)))
    gradients = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-12, rtol=0, msg=name)


@pytest.mark.parametrize(("sessions", "groups"), [(1, 4), (4, 4), (6, 4), (40, 8), (5, 1)])
def test_groups_have_as_many_sessions_and_about_as_much_work(sessions, groups):
    work = torch.randint(20, 200, (sessions,), generator=torch.Generator().manual_seed(0)).tolist()
    members = group_sessions(work, groups)
    assert sorted(session for group in members for session in group) == list(range(sessions))
    assert len(members) == min(sessions, groups)
    sizes = [len(group) for group in members]
    assert max(sizes) - min(sizes) <= 1
    totals = [sum(work[session] for session in group) for group in members]
    assert max(totals) - min(totals) <= max(work)


def test_groups_that_cannot_be_shared_evenly_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(CalmError, match=r"4 groups of sessions cannot be shared evenly by 3 processes"):
        groups_here(4)
    monkeypatch.setenv("RANK", "1")
    assert list(groups_here(6)) == [2, 3]
