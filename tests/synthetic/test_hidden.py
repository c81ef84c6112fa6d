"""The truth under a session's trials is that of its neurons, in their planes, at their frames."""

import numpy as np
import pytest

from calm.config import CohortConfig
from calm.data.dandi_000579 import read_dandi_session
from calm.data.session import drop_neurons
from calm.synthetic.cohort import plan_cohort
from calm.synthetic.cohort_files import make_session
from calm.synthetic.hidden import drive_parts, under_trials
from calm.synthetic.network import expected_spikes
from calm.synthetic.population import network_config
from calm.synthetic.truth import read_truth

TINY = CohortConfig(session_share=0, min_sessions=1, neuron_share=0.001, min_neurons=18, trials=8, block=(3, 4))
SOME = np.array([17, 0, 5, 9])  # of several planes
TRIALS = np.array([1, 2, 4])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The file of one session, its truth beside it."""
    folder, plan = tmp_path_factory.mktemp("cohort"), plan_cohort(TINY)[0]
    make_session(plan, TINY, folder)
    return folder / plan.path


@pytest.fixture(scope="module")
def truth(file):
    return read_truth(file)


@pytest.fixture(scope="module")
def session(file):
    return read_dandi_session(file)


def test_what_is_recorded_is_the_noise_free_trace_and_imaging_noise(truth, session):
    clean = under_trials(truth, session, SOME, TRIALS, truth.traces)
    recorded = np.concatenate([session.traces[trial][SOME] for trial in TRIALS], axis=1)
    noise = recorded - clean
    assert noise.std(axis=1) == pytest.approx(np.full(len(SOME), TINY.imaging_noise), rel=0.2)
    assert abs(noise.mean()) < 0.02


def test_neurons_that_are_left_out_do_not_shift_the_others(truth, session):
    fewer = drop_neurons(session, np.array([0, 6]))
    whole = under_trials(truth, session, np.array([1, 7, 17]), TRIALS, truth.rates)
    np.testing.assert_array_equal(under_trials(truth, fewer, np.array([0, 5, 15]), TRIALS, truth.rates), whole)


@pytest.mark.parametrize("neuron", SOME)
def test_parts_of_the_drive_add_up_to_the_rate(truth, session, neuron):
    parts = drive_parts(truth, session, int(neuron), TRIALS)
    rates = under_trials(truth, session, np.array([neuron]), TRIALS, truth.rates)[0]
    np.testing.assert_allclose(expected_spikes(parts.sum(axis=1).to_numpy(), network_config(TINY)), rates, rtol=1e-9)
    assert parts["baseline"].nunique() == 1 and (parts.drop(columns="baseline").std() > 0).all()


def test_the_cue_drives_on_the_stem_only(truth, session):
    trial = session.trials.iloc[1]
    cue = drive_parts(truth, session, 5, np.array([1]))["cue"].to_numpy()
    weight = truth.population.neurons["cue"].iloc[5] * (1 if trial["is_cueB"] else -1)
    np.testing.assert_allclose(cue[1 : trial["arm_frame"] - 1], weight, rtol=1e-6)
    assert (cue[trial["arm_frame"] + 1 : trial["maze_frames"]] == 0).all()
