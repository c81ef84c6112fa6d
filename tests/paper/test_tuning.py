"""d' against its closed form, on the frames where the variable is; and the truth of the right neurons."""

import dataclasses

import numpy as np
import pytest

from calm.config.synthetic import CohortConfig
from calm.data.readers.dandi_000579 import read_dandi_session
from calm.data.session import drop_neurons
from calm.paper.embeddings.tuning import (
    CHOICE,
    CUE,
    Contrast,
    d_prime,
    find_contrasts,
    is_tuned,
    tuning_table,
)
from calm.synthetic.cohort import make_session
from calm.synthetic.mice import plan_cohort
from calm.synthetic.truth import read_truth

KIND = Contrast("kind", "kind", ("go", "stop"), ("go", "stop"))


def with_columns(session, **columns):
    return dataclasses.replace(session, trials=session.trials.assign(**columns))


@pytest.fixture
def raw(make_session):
    """Forty trials of 20 to 29 frames, 5 neurons."""
    return make_session([20 + trial % 10 for trial in range(40)])


def test_d_prime_of_gaussians_is_the_distance_of_their_means_in_units_of_the_spread():
    rng, means, spreads = np.random.default_rng(0), np.array([[0.0, 1.0, -2.0]]).T, np.array([[1.0, 2.0, 0.5]]).T
    first = rng.normal(means, spreads, (3, 200_000))
    second = rng.normal(0, 1, (3, 100_000))
    expected = (means / np.sqrt((spreads**2 + 1) / 2))[:, 0]
    np.testing.assert_allclose(d_prime(first, second), expected, atol=0.015)


def test_d_prime_changes_sign_with_the_sides_and_knows_no_unit():
    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 2, (4, 50)), rng.normal(0, 1, (4, 30))
    np.testing.assert_allclose(d_prime(first, second), -d_prime(second, first))
    np.testing.assert_allclose(d_prime(7 * first + 3, 7 * second + 3), d_prime(first, second))


def test_d_prime_is_unknown_where_nothing_changes():
    assert np.isnan(d_prime(np.ones((1, 5)), np.zeros((1, 5)))).all()


def test_only_the_frames_between_the_borders_count(raw):
    kinds = np.where(np.arange(40) % 2, "go", "stop")
    session = with_columns(raw, kind=kinds, first=3, last=[9 + trial % 4 for trial in range(40)])
    contrast = dataclasses.replace(KIND, start="first", stop="last")
    inside = {
        kind: np.concatenate([session.traces[i][:, 3 : 9 + i % 4] for i in range(40) if kinds[i] == kind], axis=1)
        for kind in ("go", "stop")
    }
    np.testing.assert_allclose(contrast.tuning(session), d_prime(inside["go"], inside["stop"]))
    for trial in range(40):
        session.traces[trial][:, [0, 2, 15]] += 100
    np.testing.assert_allclose(contrast.tuning(session), d_prime(inside["go"], inside["stop"]))


def test_tuning_is_unknown_where_one_side_never_happens(raw):
    assert np.isnan(KIND.tuning(with_columns(raw, kind="go"))).all()
    never_there = with_columns(raw, kind=np.where(np.arange(40) % 2, "go", "stop"), first=5, last=5)
    assert np.isnan(dataclasses.replace(KIND, start="first", stop="last").tuning(never_there)).all()


def test_cue_and_choice_are_studied_where_the_maze_is_known(raw):
    maze = with_columns(raw, is_cueB=True, is_choL=False, stem_frame=0, arm_frame=8, maze_frames=15, is_go=True)
    assert find_contrasts([maze, maze]) == (CUE, CHOICE)
    assert (CUE.start, CUE.stop, CHOICE.start, CHOICE.stop) == ("stem_frame", "arm_frame", "arm_frame", "maze_frames")


def test_elsewhere_the_first_columns_with_two_values_are_studied(raw):
    odd = np.arange(40) % 2 == 1
    names = np.where(odd, "hit", "miss")
    session = with_columns(
        raw, start_time=np.arange(40.0), is_go=odd, outcome=names, licked=odd, three=np.arange(40) % 3
    )
    found = find_contrasts([session, session])
    assert [contrast.name for contrast in found] == ["is_go", "outcome"]
    assert found[0].kinds == (True, False) and found[1].sides == ("miss", "hit")
    assert found[0].start is None and found[0].stop is None
    assert len(find_contrasts([session, with_columns(raw, is_go=odd)])) == 1
    assert find_contrasts([raw]) == ()


def test_the_table_has_a_row_a_neuron_and_the_attributes_that_are_known(raw, make_session):
    raw = with_columns(raw, kind=np.where(np.arange(40) % 2, "go", "stop"))
    placed = dataclasses.replace(raw, neurons=raw.neurons.assign(session_area="V1", layer="L5", area="PM"))
    sessions = [placed, dataclasses.replace(placed, name="b", subject="else")]
    table = tuning_table(sessions, [KIND])
    assert table["session"].tolist() == ["uneven"] * 5 + ["b"] * 5
    assert table["neuron"].tolist() == [*range(5)] * 2
    assert set(table["area"]) == {"V1"} and table["mouse"].unique().tolist() == ["someone", "else"]
    np.testing.assert_array_equal(table["kind"][:5], KIND.tuning(raw))
    assert "area" not in tuning_table([raw])


def test_a_neuron_is_tuned_if_either_d_prime_is_large_and_both_are_known():
    tuning = np.array([[0.6, 0.0], [0.0, -0.6], [0.4, 0.4], [np.nan, 2.0], [-3, 3]])
    assert is_tuned(tuning).tolist() == [True, True, False, False, True]


def test_the_truth_is_that_of_the_neurons_that_are_left_and_d_prime_is_near_it(tmp_path):
    sizes = {"session_share": 0, "min_sessions": 1, "neuron_share": 0.001, "min_neurons": 60, "trials": 40}
    config = CohortConfig(**sizes, block=(10, 12), cue=1.0, choice=2.0)
    plan = plan_cohort(config)[0]
    make_session(plan, config, tmp_path)
    path = tmp_path / plan.path
    session = read_dandi_session(path)
    left = drop_neurons(session, np.array([0, 7, 33]))
    table = tuning_table([left, left], [CUE, CHOICE], truth={left.name: path})
    truth = read_truth(path).neurons
    kept = np.setdiff1d(np.arange(60), [0, 7, 33])
    np.testing.assert_allclose(table["true cue"], np.tile(truth["cue"].iloc[kept], 2), rtol=1e-6)
    for name in ("cue", "choice"):
        assert table[f"true {name}"].corr(table[name]) > 0.75
