"""One small synthetic session, simulated and written once for all tests."""

import pytest

from calm.config.synthetic import CohortConfig
from calm.data.readers.dandi_000579 import read_dandi_session
from calm.synthetic.cohort import make_session
from calm.synthetic.mice import plan_cohort
from calm.synthetic.truth import simulate_session


@pytest.fixture(scope="session")
def tiny():
    """The numbers of a cohort with one session of each mouse."""
    return CohortConfig(session_share=0, min_sessions=1, neuron_share=0.001, min_neurons=18, trials=10, block=(3, 4))


@pytest.fixture(scope="session")
def plan(tiny):
    """Of the first session."""
    return plan_cohort(tiny)[0]


@pytest.fixture(scope="session")
def simulated(plan, tiny):
    """Behaviour and truth of that session."""
    return simulate_session(plan, tiny)


@pytest.fixture(scope="session")
def file(plan, tiny, tmp_path_factory):
    """Its NWB file, the truth beside it."""
    folder = tmp_path_factory.mktemp("cohort")
    make_session(plan, tiny, folder)
    return folder / plan.path


@pytest.fixture(scope="session")
def session(file):
    """What is read of it."""
    return read_dandi_session(file)
