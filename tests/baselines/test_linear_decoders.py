"""GLM and RRR against scikit-learn, statsmodels, brute force and an SVD; causality and trial borders."""

import dataclasses

import numpy as np
import pytest
import statsmodels.api as sm
from decoding_cases import LAGS, NEURONS, decodable_session
from sklearn.linear_model import Ridge

from calm.baselines.linear_decoders import GLM, RRR, decoding_equations, explained_directions, lagged_design
from calm.baselines.validation import validation_error
from calm.config.rivals import RidgeDecoderConfig
from calm.errors import CalmError
from calm.metrics import channel_scores
from calm.models.interfaces import Decoder


def config(*penalties, lags=LAGS):
    return RidgeDecoderConfig(lags=lags, penalties=penalties or (1e-2, 1.0, 100.0))


@pytest.fixture(scope="module")
def session():
    return decodable_session()


def gap(session, trial, frames, channel):
    """The session without the behaviour of a channel on some frames of a trial."""
    behaviour = [channels.copy() for channels in session.behaviour]
    behaviour[trial][frames, channel] = np.nan
    return dataclasses.replace(session, behaviour=tuple(behaviour))


def literal_design(trace, lags):
    """Regressors frame by frame, by three loops."""
    neurons, frames = trace.shape
    rows = np.zeros((frames, lags * neurons))
    for frame in range(frames):
        for lag in range(lags):
            for neuron in range(neurons):
                if frame >= lag:
                    rows[frame, lag * neurons + neuron] = trace[neuron, frame - lag]
    return rows


def training_data(session, lags=LAGS):
    """Design without intercept, and behaviour, of all training frames on which every channel is known."""
    train = session.trials_of("train")
    design = np.concatenate([literal_design(session.traces[trial].astype(float), lags) for trial in train])
    behaviour = np.concatenate([session.behaviour[trial].astype(float) for trial in train])
    known = np.isfinite(behaviour).all(axis=1)
    return design[known], behaviour[known]


@pytest.mark.parametrize("lags", [1, 3, 50])
def test_regressors_are_the_newest_frames_of_the_same_trial_and_zero_before_it(session, lags):
    design = lagged_design(session.traces[0], lags)
    np.testing.assert_array_equal(design[:, :-1], literal_design(session.traces[0].astype(float), lags))
    assert (design[:, -1] == 1).all() and len(design) == session.frames[0]


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 1e3])
def test_glm_equals_scikit_learn(session, penalty):
    session = gap(session, session.trials_of("train")[0], slice(5, 12), 1)
    model, reference = GLM(config(penalty)).fit(session), Ridge(penalty).fit(*training_data(session))
    np.testing.assert_allclose(model.coefficients[:-1], reference.coef_.T, atol=1e-8)
    np.testing.assert_allclose(model.coefficients[-1], reference.intercept_, atol=1e-8)
    trace = session.traces[session.trials_of("test")[0]]
    expected = reference.predict(literal_design(trace.astype(float), LAGS))
    np.testing.assert_allclose(model.decode([trace])[0], expected, atol=1e-8)


def test_glm_without_penalty_equals_statsmodels(session):
    model, (design, behaviour) = GLM(config(0.0)).fit(session), training_data(session)
    for channel in range(behaviour.shape[1]):
        reference = sm.OLS(behaviour[:, channel], sm.add_constant(design, prepend=False)).fit()
        np.testing.assert_allclose(model.coefficients[:, channel], reference.params, atol=1e-8)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 1e3])
def test_rrr_at_full_rank_equals_ridge(session, penalty):
    gram, moments = decoding_equations(session, LAGS)
    (ridge,) = GLM(config()).candidates(gram, moments, penalty).values()
    reduced = RRR(config()).candidates(gram, moments, penalty)
    assert list(reduced) == [1, 2, 3]
    np.testing.assert_allclose(reduced[3], ridge, atol=1e-8)
    for rank, coefficients in reduced.items():
        assert np.linalg.matrix_rank(coefficients[:-1], tol=1e-8) == rank


def objective(design, behaviour, coefficients, penalty):
    """Sum of squared errors and the penalty on all but the intercept."""
    errors = behaviour - design @ coefficients[:-1] - coefficients[-1]
    return (errors**2).sum() + penalty * (coefficients[:-1] ** 2).sum()


@pytest.mark.parametrize("penalty", [0.1, 30.0])
def test_rank_one_is_the_best_of_all_directions_tried_by_brute_force(session, penalty):
    pair = dataclasses.replace(
        session, behaviour=tuple(channels[:, :2] for channels in session.behaviour), behaviour_names=("pitch", "roll")
    )
    design, behaviour = training_data(pair, lags=1)
    mean = behaviour.mean(axis=0)
    tried = []
    for angle in np.linspace(0, np.pi, 2000):
        direction = np.array([np.cos(angle), np.sin(angle)])
        ridge = Ridge(penalty).fit(design, (behaviour - mean) @ direction)
        coefficients = np.vstack([np.outer(ridge.coef_, direction), mean + ridge.intercept_ * direction])
        tried.append(objective(design, behaviour, coefficients, penalty))
    found = RRR(config()).candidates(*decoding_equations(pair, 1), penalty)[1]
    value = objective(design, behaviour, found, penalty)
    assert value <= min(tried) + 1e-6
    assert value == pytest.approx(min(tried), rel=1e-5) and max(tried) > 1.05 * value


@pytest.mark.parametrize("penalty", [0.1, 30.0])
def test_reduced_rank_is_the_truncated_svd_of_the_augmented_fit(session, penalty):
    design, behaviour = training_data(session)
    inputs, outputs = design - design.mean(axis=0), behaviour - behaviour.mean(axis=0)
    augmented = np.vstack([inputs, np.sqrt(penalty) * np.eye(inputs.shape[1])])
    fitted = augmented @ np.linalg.lstsq(augmented, np.vstack([outputs, np.zeros((inputs.shape[1], 3))]))[0]
    left, sizes, right = np.linalg.svd(fitted, full_matrices=False)
    for rank, coefficients in RRR(config()).candidates(*decoding_equations(session, LAGS), penalty).items():
        truncated = (left[:, :rank] * sizes[:rank]) @ right[:rank]
        expected = np.linalg.lstsq(augmented, truncated)[0]
        np.testing.assert_allclose(coefficients[:-1], expected, atol=1e-8)
        intercept = behaviour.mean(axis=0) - design.mean(axis=0) @ expected
        np.testing.assert_allclose(coefficients[-1], intercept, atol=1e-8)


def test_directions_are_orthonormal_and_ordered_by_what_they_explain(session):
    gram, moments = decoding_equations(session, LAGS)
    (ridge,) = GLM(config()).candidates(gram, moments, 1.0).values()
    directions = explained_directions(gram, moments, ridge)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    design, _ = training_data(session)
    along = (design - design.mean(axis=0)) @ ridge[:-1] @ directions
    assert (np.diff(along.var(axis=0)) < 0).all()


def test_penalty_and_rank_have_the_least_error_on_validation_trials(session):
    model = RRR(config(1e-2, 1.0, 1e4)).fit(session)
    assert set(model.validation) == {(rank, penalty) for rank in (1, 2, 3) for penalty in (1e-2, 1.0, 1e4)}
    assert model.validation[model.rank, model.penalty] == min(model.validation.values())
    assert validation_error(model, session) == min(model.validation.values()) < 1e-2


def test_rrr_finds_the_rank_of_noisy_behaviour():
    model = RRR(config(1.0, lags=10)).fit(decodable_session(rank=1, noise=2.0, trials=20))
    assert model.rank == 1
    assert model.parameters == 10 * NEURONS + 3 - 1 + 3


@pytest.mark.parametrize("kind", [GLM, RRR])
def test_lagged_linear_behaviour_is_decoded_on_unseen_trials(session, kind):
    model, trials = kind(config()).fit(session), session.trials_of("test")
    assert isinstance(model, Decoder)
    decoded = model.decode([session.traces[trial] for trial in trials])
    scores = [channel_scores(session.behaviour[trial], guess) for trial, guess in zip(trials, decoded, strict=True)]
    assert np.min([score["r2"] for score in scores]) >= 0.95
    short = kind(config(lags=1)).fit(session)  # the lags matter
    assert validation_error(short, session) > 0.2


@pytest.mark.parametrize("kind", [GLM, RRR])
@pytest.mark.parametrize("frame", [0, 7, 25])
@pytest.mark.parametrize("look_ahead", [0, 2, 7])
def test_a_frame_reaches_the_decoded_frames_from_the_look_ahead_to_the_longest_lag_only(
    session, kind, frame, look_ahead
):
    model, trace = kind(config().changed(look_ahead=look_ahead)).fit(session), session.traces[0]
    changed = trace.copy()
    changed[:, frame] += 1
    moved = (model.decode([changed])[0] != model.decode([trace])[0]).any(axis=1)
    reached = range(max(0, frame - look_ahead), min(frame + LAGS, len(moved)))
    assert np.flatnonzero(moved).tolist() == list(reached)


@pytest.mark.parametrize("penalty", [1e-3, 1.0])
def test_lags_into_the_future_are_those_of_ridge_on_shifted_traces(session, penalty):
    """Closed form: the traces put off by two frames, with two more lags, on frames that have them all."""
    model = GLM(config(penalty).changed(look_ahead=2)).fit(session)
    designs, behaviour = [], []
    for trial in session.trials_of("train"):
        trace = np.pad(session.traces[trial].astype(float), ((0, 0), (0, 2)))
        designs.append(literal_design(trace, LAGS + 2)[2:])
        behaviour.append(session.behaviour[trial].astype(float))
    design, target = np.concatenate(designs), np.concatenate(behaviour)
    centred = design - design.mean(axis=0)
    expected = np.linalg.solve(centred.T @ centred + penalty * np.eye(design.shape[1]), centred.T @ target)
    np.testing.assert_allclose(model.coefficients[:-1], expected, atol=1e-8)


@pytest.mark.parametrize("kind", [GLM, RRR])
def test_trials_do_not_touch_each_other(session, kind):
    model = kind(config()).fit(session)
    together = model.decode(list(session.traces[:3]))
    for trial in range(3):
        np.testing.assert_array_equal(together[trial], model.decode([session.traces[trial]])[0])
    backwards = dataclasses.replace(
        session,
        traces=session.traces[::-1],
        behaviour=session.behaviour[::-1],
        trials=session.trials.iloc[::-1].reset_index(drop=True),
    )
    np.testing.assert_allclose(kind(config()).fit(backwards).coefficients, model.coefficients, atol=1e-10)


@pytest.mark.parametrize("kind", [GLM, RRR])
def test_test_trials_are_never_read(session, kind):
    hidden = [trace.copy() for trace in session.traces]
    for trial in session.trials_of("test"):
        hidden[trial][:] = np.nan
    blinded = dataclasses.replace(session, traces=tuple(hidden))
    np.testing.assert_array_equal(kind(config()).fit(blinded).coefficients, kind(config()).fit(session).coefficients)


def test_frames_without_behaviour_take_no_part(session):
    trial = session.trials_of("train")[0]
    missing = gap(session, trial, slice(None), 2)
    split = session.trials["split"].where(session.trials.index != trial, "left out")
    without = dataclasses.replace(session, trials=session.trials.assign(split=split))
    np.testing.assert_allclose(
        GLM(config()).fit(missing).coefficients, GLM(config()).fit(without).coefficients, atol=1e-10
    )


def test_a_session_without_behaviour_on_any_frame_is_refused(session):
    empty = gap(session, session.trials_of("train")[0], slice(None), 0)
    for trial in session.trials_of("train")[1:]:
        empty = gap(empty, trial, slice(None), 1)
    empty = gap(empty, session.trials_of("train")[0], slice(None), 2)
    with pytest.raises(CalmError, match="no training frame has all of pitch, roll, yaw"):
        GLM(config()).fit(empty)
    nothing = dataclasses.replace(
        session, behaviour=tuple(channels[:, :0] for channels in session.behaviour), behaviour_names=()
    )
    with pytest.raises(CalmError, match="no behaviour to decode"):
        GLM(config()).fit(nothing)


def test_parameters_are_those_that_are_free(session):
    regressors = LAGS * NEURONS
    model = GLM(config()).fit(session)
    assert model.parameters == 3 * regressors + 3 == model.coefficients.size
