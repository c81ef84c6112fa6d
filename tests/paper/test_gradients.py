"""Tuning gradients: axes that were put in are found, in-sample and left-out correlation, planes as scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import RobustScaler

from calm.errors import CalmError
from calm.paper.claims.statistics import permutation_p
from calm.paper.embeddings.gradients import (
    ANGLE,
    IN_SAMPLE,
    LEFT_OUT,
    Gradients,
    NeuronFeatures,
    angle_between,
    bootstrap_angles,
    discriminant_plane,
    fit_axes,
    orders_within,
    principal_plane,
    shuffle_tuning,
    standardise_embeddings,
)
from calm.paper.embeddings.read_out import read_out, shuffled_read_outs
from calm.paper.embeddings.tuning import TRUTH


def noise(neurons=200, channels=32, sessions=8, seed=0):
    """Embeddings without anything in them, tuning, and the sessions of the neurons."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(neurons, channels)), rng.normal(size=(neurons, 2)), np.arange(neurons) % sessions


def mixture(angle=90.0, neurons=600, channels=24, spread=1.0, seed=0):
    """Embeddings that move along one direction with the first tuning and along another with the second.

    `angle` is that between the directions, in degrees.
    """
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(channels, channels)))[0]
    turn = np.radians(angle)
    directions = np.stack([basis[0], np.cos(turn) * basis[0] + np.sin(turn) * basis[1]])
    tuning = rng.normal(size=(neurons, 2))
    embeddings = 3 * tuning @ directions + spread * rng.normal(size=(neurons, channels))
    return embeddings, tuning, np.arange(neurons) % 10, directions


def degrees(first, second):
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


@pytest.mark.parametrize("angle", [90.0, 60.0, 110.0])
def test_axes_that_were_put_in_are_found(angle):
    embeddings, tuning, sessions, directions = mixture(angle, neurons=3000)
    features = NeuronFeatures.prepare(embeddings, sessions, seed=0)
    found = Gradients.fit(features, tuning, discriminant_plane)
    assert (found.correlations(tuning)[IN_SAMPLE] > 0.9).all()
    along = found.coordinates @ found.axes
    # How embeddings change along an axis; the weights that read the axis off them are another thing.
    changes = (along - along.mean(0)).T @ embeddings
    for change, direction in zip(changes, directions, strict=True):
        assert degrees(change, direction) < 5


@pytest.mark.parametrize("angle", [60.0, 90.0, 130.0])
def test_independent_tunings_have_orthogonal_axes_in_the_plane_however_their_directions_lie(angle):
    embeddings, tuning, _, _ = mixture(angle, neurons=3000, spread=0.5)
    features = standardise_embeddings(embeddings, np.arange(len(embeddings)))
    assert abs(angle_between(fit_axes(features, tuning, discriminant_plane)[1]) - 90) < 5


def test_tunings_that_go_together_have_axes_that_lie_together():
    embeddings, tuning, _, directions = mixture(spread=0.5)
    tuning[:, 1] += tuning[:, 0]  # correlation 0.71
    embeddings = 3 * tuning @ directions + 0.5 * np.random.default_rng(1).normal(size=embeddings.shape)
    features = standardise_embeddings(embeddings, np.arange(len(embeddings)))
    assert angle_between(fit_axes(features, tuning, discriminant_plane)[1]) < 70


def test_the_plane_is_scikit_learns():
    embeddings, tuning, _, _ = mixture(70.0, neurons=100, spread=4.0)
    features = standardise_embeddings(embeddings, np.arange(100))
    reference = LinearDiscriminantAnalysis(n_components=2).fit(features, (tuning > 0) @ [1, 2]).transform(features)
    found = features @ discriminant_plane(features, tuning)
    found *= np.sign((found * reference).sum(0))
    np.testing.assert_allclose(found / found.std(), reference / reference.std(), atol=1e-9)


def test_no_direction_in_the_plane_follows_the_tuning_better_than_the_axis():
    embeddings, tuning, sessions = noise()
    found = Gradients.fit(NeuronFeatures.prepare(embeddings, sessions, seed=0), tuning, discriminant_plane)
    best = found.correlations(tuning)[IN_SAMPLE]
    turns = np.radians(np.arange(360))
    everywhere = found.coordinates @ np.stack([np.cos(turns), np.sin(turns)])
    for variable in range(2):
        others = [np.corrcoef(coordinate, tuning[:, variable])[0, 1] for coordinate in everywhere.T]
        assert max(others) <= best[variable] + 1e-12
        assert max(others) == pytest.approx(best[variable], abs=1e-3)


def test_embeddings_are_standardised_by_the_training_neurons_alone():
    embeddings, _, _ = noise(neurons=150, channels=60)
    train = np.arange(100)
    found = standardise_embeddings(embeddings, train)
    scaled = RobustScaler().fit(embeddings[train]).transform(embeddings)
    reference = PCA(20, whiten=True, svd_solver="full").fit(scaled[train]).transform(scaled)
    np.testing.assert_allclose(np.abs(found), np.abs(reference), atol=1e-8)
    np.testing.assert_allclose(np.cov(found[train].T), np.eye(20), atol=1e-8)
    embeddings[100:] *= 50
    np.testing.assert_allclose(standardise_embeddings(embeddings, train)[train], found[train])


def test_in_sample_correlation_of_noise_is_high_and_that_of_left_out_neurons_is_not():
    whole, left_out = [], []
    for seed in range(20):
        embeddings, tuning, sessions = noise(neurons=100, seed=seed)
        features = NeuronFeatures.prepare(embeddings, sessions, seed=0)
        found = Gradients.fit(features, tuning, discriminant_plane)
        whole.append(found.correlations(tuning)[IN_SAMPLE])
        left_out.append(found.correlations(tuning)[LEFT_OUT])
    assert np.mean(whole) > 0.25
    assert abs(np.mean(left_out)) < 0.08  # 40 values, each with an error of 0.13


def test_left_out_neurons_of_a_real_gradient_follow_it(monkeypatch):
    embeddings, tuning, sessions, _ = mixture()
    features = NeuronFeatures.prepare(embeddings, sessions, seed=0)
    found = Gradients.fit(features, tuning, discriminant_plane)
    assert (found.correlations(tuning)[LEFT_OUT] > 0.9).all()
    each = found.session_correlations(tuning)
    assert list(each) == list(range(10)) and min(values.min() for values in each.values()) > 0.85
    monkeypatch.setattr("calm.paper.embeddings.gradients.FEWEST_OF_A_SESSION", 61)
    assert len(found.session_correlations(tuning)) == 0


def test_a_left_out_neuron_has_no_part_in_its_axes():
    embeddings, tuning, sessions = noise()
    features = NeuronFeatures.prepare(embeddings, sessions, seed=0)
    before = Gradients.fit(features, tuning, discriminant_plane).left_out
    _, out, _ = features.folds[2]
    tuning[out] *= -5
    after = Gradients.fit(features, tuning, discriminant_plane).left_out
    np.testing.assert_array_equal(after[out], before[out])
    assert not np.allclose(after, before)


def test_every_fold_has_its_share_of_every_session():
    sessions = np.repeat([0, 1, 2], [50, 25, 75])
    features = NeuronFeatures.prepare(np.random.default_rng(0).normal(size=(150, 12)), sessions, seed=3)
    assert [np.bincount(sessions[out]).tolist() for _, out, _ in features.folds] == [[10, 5, 15]] * 5
    assert sorted(np.concatenate([out for _, out, _ in features.folds])) == list(range(150))
    assert all(set(train) | set(out) == set(range(150)) for train, out, _ in features.folds)


def test_preferences_that_lie_apart_are_seen_in_principal_components():
    embeddings, tuning, sessions, _ = mixture()
    features = NeuronFeatures.prepare(embeddings, sessions, seed=0)
    found = Gradients.fit(features, np.sign(tuning[:, :1]), principal_plane)
    assert found.correlations(np.sign(tuning[:, :1]))[LEFT_OUT][0] > 0.7
    first = PCA(2).fit(RobustScaler().fit_transform(embeddings)).transform(RobustScaler().fit_transform(embeddings))
    for mine, reference in zip(found.coordinates.T, first.T, strict=True):
        assert abs(np.corrcoef(mine, reference)[0, 1]) == pytest.approx(1)


def test_too_few_neurons_or_preferences_are_refused():
    embeddings, tuning, sessions = noise(neurons=19)
    with pytest.raises(CalmError, match="19 tuned neurons are too few"):
        NeuronFeatures.prepare(embeddings, sessions, seed=0)
    embeddings, tuning, sessions = noise(neurons=30)
    tuning[:, 1] = np.abs(tuning[:, 1])
    with pytest.raises(CalmError, match="of one preference"):
        Gradients.fit(NeuronFeatures.prepare(embeddings, sessions, seed=0), tuning, discriminant_plane)


# --- Shuffles


def test_embeddings_that_nothing_was_learned_about_are_refused():
    with pytest.raises(CalmError, match="embeddings of all 40 tuned neurons are alike"):
        NeuronFeatures.prepare(np.zeros((40, 8)), np.zeros(40, int), seed=0)


def test_a_shuffle_keeps_every_neuron_in_its_session():
    sessions = np.random.default_rng(0).integers(0, 4, 60)
    first, *orders = orders_within(sessions, draws=3, seed=1)
    np.testing.assert_array_equal(first, np.arange(60))
    for order in orders:
        assert sorted(order) == list(range(60))
        np.testing.assert_array_equal(sessions[order], sessions)
        assert (order != np.arange(60)).sum() > 40


def test_every_order_within_a_session_is_equally_likely():
    sessions, counts = np.array([0, 1, 0, 0]), {}
    for order in list(orders_within(sessions, draws=6000, seed=0))[1:]:
        key = tuple(order[[0, 2, 3]])
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 6 and all(abs(count - 1000) < 120 for count in counts.values())


def test_draw_0_is_what_is_observed():
    embeddings, tuning, sessions = noise()
    features = NeuronFeatures.prepare(embeddings, sessions, seed=0)
    found = Gradients.fit(features, tuning, discriminant_plane)
    draws = shuffle_tuning(features, tuning, discriminant_plane, draws=3, seed=0)
    for kind, values in found.correlations(tuning).items():
        np.testing.assert_allclose(draws[kind][0], values)
    assert draws[ANGLE][0] == pytest.approx(angle_between(found.axes))
    assert draws[IN_SAMPLE].shape == draws[LEFT_OUT].shape == (4, 2)


def test_p_counts_the_observed_value():
    assert permutation_p(np.array([1.0, 0.0, 0.5, 1.0, 0.2])) == 2 / 5
    assert permutation_p(np.array([2.0, 0.0, 0.5, 1.0, 0.2])) == 1 / 5
    assert permutation_p(np.array([-1.0, 0.0, 0.5, 1.0, 0.2])) == 1


def test_p_is_uniform_where_there_is_nothing():
    ps = {IN_SAMPLE: [], LEFT_OUT: []}
    for seed in range(60):
        # Sessions differ in both embeddings and tuning, which is no gradient within them.
        embeddings, tuning, sessions = noise(neurons=60, channels=8, sessions=4, seed=seed)
        embeddings[:, 0] += sessions
        tuning[:, 0] += 0.5 * sessions
        features = NeuronFeatures.prepare(embeddings, sessions, seed=0)
        draws = shuffle_tuning(features, tuning, discriminant_plane, draws=9, seed=seed)
        for statistic, found in ps.items():
            found.append(permutation_p(draws[statistic][:, 0]))
    within_step = np.random.default_rng(0).random(60) / 10  # p has 10 values, a uniform number has all
    for found in ps.values():
        assert stats.kstest(np.array(found) - within_step, "uniform").pvalue > 0.05


def test_a_real_gradient_is_beyond_every_shuffle():
    embeddings, tuning, sessions, _ = mixture(neurons=150, spread=4.0)
    features = NeuronFeatures.prepare(embeddings, sessions, seed=0)
    draws = shuffle_tuning(features, tuning, discriminant_plane, draws=39, seed=0)
    assert [permutation_p(values) for values in (*draws[IN_SAMPLE].T, *draws[LEFT_OUT].T)] == [1 / 40] * 4


def test_resampled_angles_lie_around_the_observed_one_and_closer_with_more_neurons():
    widths = []
    for neurons in (100, 900):
        embeddings, tuning, sessions, _ = mixture(neurons=neurons, spread=3.0)
        features = NeuronFeatures.prepare(embeddings, sessions, seed=0)
        low, high = np.percentile(bootstrap_angles(features, tuning, discriminant_plane, draws=50, seed=0), [2.5, 97.5])
        assert low < angle_between(Gradients.fit(features, tuning, discriminant_plane).axes) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_resampling_draws_neurons_of_the_same_session(monkeypatch):
    sessions = np.array([2, 0, 1, 0, 2, 2] * 5)
    embeddings = np.column_stack([sessions, np.arange(30), np.random.default_rng(0).normal(size=(30, 6))])
    tuning = np.random.default_rng(1).normal(size=(30, 2))
    seen, features = [], NeuronFeatures.prepare(embeddings, sessions, seed=0)
    monkeypatch.setattr(
        "calm.paper.embeddings.gradients.standardise_embeddings",
        lambda drawn, train: seen.append(drawn) or drawn - drawn.mean(0),
    )
    bootstrap_angles(features, tuning, principal_plane, draws=5, seed=0)
    assert all((drawn[:, 0] == sessions).all() for drawn in seen)
    assert len({tuple(drawn[:, 1]) for drawn in seen}) == 5


# --- Read-outs


def test_a_read_out_finds_what_is_there_and_nothing_else():
    embeddings, tuning, sessions = noise(neurons=300)
    hidden = embeddings @ np.random.default_rng(2).normal(size=32)
    targets = np.column_stack([hidden + 0.1 * tuning[:, 0], tuning[:, 1]])
    features = NeuronFeatures.prepare(embeddings, sessions, seed=0)
    found = read_out(features, targets)
    assert found[0] > 0.99 and abs(found[1]) < 0.2


def test_read_outs_are_of_neurons_with_known_tuning_and_shuffled_beside():
    embeddings, tuning, sessions = noise(neurons=120)
    neurons = pd.DataFrame({"session": sessions, "cue": embeddings[:, 0], "choice": tuning[:, 1]})
    neurons.loc[7, "choice"] = np.nan
    names = [f"true {name}" for name in TRUTH]
    neurons[names] = np.random.default_rng(3).normal(size=(120, len(TRUTH)))
    read_outs, count = shuffled_read_outs(embeddings, neurons, ("cue", "choice"), draws=9, seed=0)
    assert list(read_outs) == ["d' of cue", "d' of choice", *names] and count == 119 and len(read_outs) == 10
    assert permutation_p(read_outs["d' of cue"].to_numpy()) == 1 / 10 and read_outs["d' of cue"][0] > 0.5
    assert np.abs(read_outs[1:]).to_numpy().mean() < 0.15
    known = np.delete(np.arange(120), 7)
    features = NeuronFeatures.prepare(embeddings[known], sessions[known], seed=0)
    targets = neurons.loc[known, ["cue", "choice", *names]]
    np.testing.assert_allclose(read_outs.iloc[0], read_out(features, targets.to_numpy()))
