"""An interruption or a kill at any moment changes nothing in the end."""

import itertools
import multiprocessing
import os
import shutil
import signal

import pytest
import safetensors.torch
from fit_cases import EVERY, assert_same, run, stopping, toy_case

from calm.training.fit import Objective, fit

SHORT = 2 * EVERY  # steps of the runs that are killed
FATAL = {  # what saving a checkpoint calls, and where a kill may hit it
    "save_file": (safetensors.torch, "save_file"),
    "fsync": (os, "fsync"),
    "replace": (os, "replace"),
    "rmtree": (shutil, "rmtree"),
}


@pytest.mark.parametrize(
    "where", [{"step": 1}, {"step": EVERY}, {"step": 2 * EVERY + 1}, {"validation": 0}, {"validation": 1}]
)
def test_resumed_run_is_the_straight_one(case, tmp_path, where):
    straight = run(case, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        run(case, tmp_path / "stopped", task=stopping(case[1], **where))
    assert_same(straight, run(case, tmp_path / "stopped"))


@pytest.mark.parametrize("every", [1, 2, 10])
def test_a_run_resumes_at_its_last_validation(toy, tmp_path, every):
    straight = run(toy, tmp_path / "straight", validate_every=every)
    begun = []
    for stop in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            run(toy, tmp_path / "stopped", task=stopping(toy[1], step=stop), validate_every=every)
    task = Objective(lambda step: begun.append(step) or toy[1].batch(step), toy[1].validate)
    assert_same(straight, run(toy, tmp_path / "stopped", task=task, validate_every=every))
    assert begun[0] == 5 // every * every


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
    log = folder.with_suffix(".step")
    logged = Objective(lambda step: log.write_text(str(step)) and task.batch(step), task.validate)
    fit(make(), logged, config.changed(steps=SHORT), seed=0, folder=folder)


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
    straight = run(toy, tmp_path / "straight", steps=SHORT)
    logs = list((killed / name).glob("*.step"))
    assert len(logs) > 2
    for log in logs:
        begun = []
        task = Objective(lambda step, begun=begun: begun.append(step) or toy[1].batch(step), toy[1].validate)
        assert_same(straight, run(toy, log.with_suffix(""), task=task, steps=SHORT))
        assert (
            not begun or begun[0] >= int(log.read_text()) // EVERY * EVERY
        )  # only what came after the last checkpoint


def test_killed_run_leaves_no_half_written_folder_behind_in_the_end(toy, killed):
    run(toy, killed / "fsync" / "6", steps=SHORT)
    assert [path.name for path in (killed / "fsync" / "6").iterdir()] == ["model"]
