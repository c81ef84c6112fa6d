"""Notebooks are tested at profile smoke, in a folder that nothing was made in before and that goes with the test run."""

import os
import shutil
import tempfile

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

os.environ.setdefault("CALM_PROFILE", "smoke")  # inherited by the kernels
os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers side by side: threads that wait for each other crawl
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_configure(config: pytest.Config) -> None:
    """Set the folder before the workers start, which share it as the notebooks of a user do."""
    if not hasattr(config, "workerinput"):
        os.environ["CALM_ROOT"] = tempfile.mkdtemp(prefix="calm-")


class OneWorkerForNotebooks(LoadScopeScheduling):
    """One worker runs all notebooks: what one of them trains the next ones find, and no two train the same at once."""

    def _split_scope(self, nodeid: str) -> str:
        return "notebooks" if ".ipynb::" in nodeid else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneWorkerForNotebooks:
    """Deal the tests out; marks of xdist for such groups have no effect with pytest 9.2."""
    return OneWorkerForNotebooks(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop("CALM_ROOT"), ignore_errors=True)
