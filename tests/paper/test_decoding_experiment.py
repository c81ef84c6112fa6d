"""The decoders of Figure 4: who is compared, what each was given, the ceiling, and how they are scored."""

import dataclasses

import numpy as np
import pytest
from backbones import frozen
from decoding_cases import BEHAVIOURS, decodable_session

from calm.baselines.linear_decoders import lagged_design
from calm.config.rivals import RidgeDecoderConfig
from calm.config.synthetic import CohortConfig
from calm.data.preparation import prepare
from calm.data.readers.dandi_000579 import read_dandi_session
from calm.metrics import channel_scores
from calm.models.interfaces import Decoder
from calm.paper.experiments.decoding import (
    AHEAD,
    CONTROL,
    add_gains,
    decode_known_rates,
    decode_trials,
    decoders_at,
    decoders_of,
    head_features,
    linear_decoders,
    score_decoding,
    search_on_many,
    train_on_one,
    train_with_share,
    variants,
)
from calm.paper.results import Results, read_item, save_item, summarise
from calm.profile import load_profile
from calm.synthetic.cohort import make_session
from calm.synthetic.mice import plan_cohort
from calm.synthetic.truth import read_truth
from calm.training.features import RawFeatures

RIDGE = RidgeDecoderConfig(lags=3, penalties=(1.0, 100.0))
ALL = {(method, variant) for method in ("GLM", "RRR", "TCN", "POYO+") for variant in ("", AHEAD)}
HEADED = {(method, head) for method in ("CalM", "raw traces") for head in ("linear head", "GLU head")}


@pytest.fixture
def backbone(quantizer, dat):
    return frozen(quantizer, dat)


def heads_on(backbone):
    """Features of a backbone and the control."""
    return {"CalM": backbone, CONTROL: RawFeatures(backbone.window)}


@pytest.fixture
def session():
    return decodable_session(name="uneven", neurons=5, trials=20)


def r2(session, decoded, split="test"):
    trials = session.trials_of(split)
    true = np.concatenate([session.behaviour[trial] for trial in trials])
    return channel_scores(true, np.concatenate(decoded))["r2"].mean()


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_design_reaches_as_far_ahead_as_it_should_and_no_further(ahead):
    trace = np.random.default_rng(0).normal(size=(2, 9))
    padded = np.pad(trace, ((0, 0), (2, ahead)))
    for frame, row in enumerate(lagged_design(trace, 3, ahead)):
        seen = padded[:, frame : frame + 3 + ahead][:, ::-1]
        np.testing.assert_array_equal(row, [*seen.T.ravel(), 1.0])


def test_a_glm_that_sees_ahead_decodes_what_comes_before_the_traces():
    session = decodable_session(trials=40)
    late = tuple(np.roll(values, -2, axis=0) for values in session.behaviour)  # behaviour leads by two frames
    leading = dataclasses.replace(session, behaviour=late)
    trained = linear_decoders(leading, variants(RIDGE, 3))
    decoded = decode_trials(trained, leading, leading.trials_of("test"))
    for method in ("GLM", "RRR"):
        assert r2(leading, decoded[method, AHEAD]) > r2(leading, decoded[method, ""]) + 0.2
    assert set(trained.costs) == set(trained.methods)


def test_every_decoder_of_a_single_session_decodes_whole_trials_after_as_many_tries(backbone, session, tmp_path):
    profile = load_profile("smoke").changed(learning_rates=(0.3, 1.0))
    trained = train_on_one(session, head_features(session, heads_on(backbone)), profile, seed=0, runs=tmp_path)
    assert set(trained.methods) == set(trained.costs) == ALL | HEADED
    assert {len(search.tries) for search in trained.searches.values()} == {len(profile.learning_rates)}
    trials = session.trials_of("test")
    for method, behaviour in decode_trials(trained, session, trials).items():
        assert isinstance(trained.methods[method], Decoder) and trained.seconds[method] > 0
        assert [each.shape for each in behaviour] == [(frames, 3) for frames in session.frames[trials]]


@pytest.mark.parametrize("networks", [False, True])
def test_decoders_at_a_look_ahead_know_no_later_frame(backbone, session, tmp_path, networks):
    profile, features = load_profile("smoke"), head_features(session, heads_on(backbone))
    profile = profile.changed(poyo_single=profile.poyo_single.changed(window=2.0))
    trace, frame = session.traces[0], 14
    for look_ahead in (0, 5, 8):
        given = {"networks": networks, "seed": 0, "runs": tmp_path}
        methods = decoders_at(look_ahead, session, features, profile, **given).methods
        linear = {("GLM", AHEAD), ("RRR", AHEAD)}
        assert set(methods) == ({("TCN", AHEAD), ("POYO+", AHEAD)} | linear | HEADED if networks else linear)
        changed = trace.copy()
        changed[:, frame + look_ahead + 1 :] += 1
        nearer = trace.copy()
        nearer[:, frame + look_ahead - 3 :] += 1  # of a token, which heads know as a whole
        for method, decoder in methods.items():
            plain, later, near = (decoder.decode([each])[0][frame] for each in (trace, changed, nearer))
            np.testing.assert_allclose(later, plain, rtol=0, atol=1e-6, err_msg=str(method))
            assert not np.allclose(near, plain, rtol=0, atol=1e-5), method


def test_fewer_labels_change_what_is_learned(backbone, session, tmp_path):
    features = head_features(session, heads_on(backbone))
    few, every = (
        train_with_share(session, features, share, load_profile("smoke"), seed=0, runs=tmp_path).methods
        for share in (0.2, 1.0)
    )
    trace = session.traces[:1]
    assert set(few) == set(every) == {method for method in ALL if method[1] == AHEAD} | HEADED
    assert all(not np.allclose(few[method].decode(trace)[0], every[method].decode(trace)[0]) for method in few)


def test_new_sessions_of_many_get_only_what_is_theirs(backbone, session, tmp_path):
    profile, seeds = load_profile("smoke"), {"seed": 0, "runs": tmp_path}
    held_in = search_on_many([session], backbone, profile, pretrained={}, **seeds)
    other = dataclasses.replace(session, subject="other")
    held_out = search_on_many([other], backbone, profile, pretrained=held_in, **seeds)
    assert set(held_in) == set(held_out) == {("CalM", "linear head"), ("CalM", "GLU head"), ("POYO+", "")}
    for method in held_in:
        before, after = (searches[method].chosen.model for searches in (held_in, held_out))
        trained = {name for name, parameter in after.named_parameters() if parameter.requires_grad}
        weights = before.state_dict()
        same = {name for name, value in after.state_dict().items() if value.equal(weights[name])}
        assert trained and trained < set(weights) and same >= set(weights) - trained
    assert set(decoders_of(held_out, backbone, other, 7).methods) == {*held_out, ("POYO+", AHEAD)}


def test_known_rates_are_decoded_better_than_traces(tmp_path):
    config = CohortConfig(session_share=0, min_sessions=1, neuron_share=0.001, min_neurons=40, trials=30, block=(8, 10))
    plan = plan_cohort(config)[0]
    make_session(plan, config, tmp_path)
    session = prepare(read_dandi_session(tmp_path / plan.path), seed=0, smoothing=0.15)
    ridge = RidgeDecoderConfig(lags=5, penalties=(10.0, 100.0, 1000.0))
    trials = session.trials_of("test")
    known = decode_known_rates(read_truth(tmp_path / plan.path), session, ridge)
    traces = decode_trials(linear_decoders(session, {"": ridge}), session, trials)["GLM", ""]
    assert r2(session, [known[trial] for trial in trials]) > r2(session, traces) > 0


# --- Scores

WINDOW = 4
LEVELS = {("CalM", "GLU head"): 0.2, ("POYO+", AHEAD): 0.5}


@pytest.fixture(scope="module")
def decoded_session():
    return decodable_session(trials=30)


def guesses(session, trials, noise=0.3, seed=0):
    """What a decoder with this much noise says."""
    rng = np.random.default_rng(seed)
    return [session.behaviour[trial] + noise * rng.normal(size=session.behaviour[trial].shape) for trial in trials]


def scored(session, trials, decoded):
    """Values of the session and of its trials, and how many trials each is of."""
    results = Results("cohort", 0)
    where = {"item": "fig4b", "trial_item": "fig4b_trials", "group": "held-in"}
    score_decoding(results, decoded, session, trials, WINDOW, **where)
    return results.table("fig4b"), results.table("fig4b_trials")


def test_scores_are_means_over_trials_of_whole_tokens(decoded_session):
    session, trials = decoded_session, decoded_session.trials_of("test")
    decoded = guesses(session, trials)
    assert any(len(guess) % WINDOW for guess in decoded)
    cut = [(session.behaviour[trial], guess) for trial, guess in zip(trials, decoded, strict=True)]
    cut = [(true[: len(true) // 4 * 4], guess[: len(true) // 4 * 4].copy()) for true, guess in cut]
    for guess in decoded:
        guess[len(guess) // 4 * 4 :] = 1e6  # frames after the last whole token do not count
    table, by_trial = scored(session, trials, {("GLM", ""): decoded})
    values = table.set_index("metric")["value"]
    for metric in ("r2", "mse", "corr"):
        per_trial = np.mean([channel_scores(*pair)[metric] for pair in cut], axis=0)
        np.testing.assert_allclose(values[[f"{metric} {name}" for name in BEHAVIOURS]], per_trial)
        assert values[metric] == pytest.approx(per_trial.mean())
    over = channel_scores(*(np.concatenate(each) for each in zip(*cut, strict=True)))["r2"]
    np.testing.assert_allclose(values[[f"r2 over frames {name}" for name in BEHAVIOURS]], over)
    assert (table["n"] == len(trials)).all() and set(table["split"]) == {"test"} and set(table["group"]) == {"held-in"}
    assert set(by_trial["metric"]) == {"r2", *(f"r2 {name}" for name in BEHAVIOURS)} and set(by_trial["variant"]) == {
        ""
    }
    for metric, each in by_trial.groupby("metric"):
        assert sorted(each["trial"]) == sorted(trials)
        assert each["value"].mean() == pytest.approx(values[metric])


def test_trials_on_which_a_channel_does_not_change_are_left_out_of_its_r2_and_counted(decoded_session):
    trials = decoded_session.trials_of("test")
    behaviour = [channels.copy() for channels in decoded_session.behaviour]
    behaviour[trials[0]][:, 2] = 0.3
    behaviour[trials[1]][:, 2] = np.nan
    still = dataclasses.replace(decoded_session, behaviour=tuple(behaviour))
    table, by_trial = scored(still, trials, {("GLM", ""): guesses(decoded_session, trials)})
    counts = table.set_index("metric")["n"]
    assert counts["r2 yaw"] == counts["corr yaw"] == len(trials) - 2 and counts["mse yaw"] == len(trials) - 1
    assert counts["r2 pitch"] == counts["r2"] == len(trials)
    defined = by_trial.query("metric == 'r2 yaw'")
    assert sorted(defined["trial"]) == sorted(trials[2:])
    assert table.set_index("metric")["value"]["r2 yaw"] == pytest.approx(defined["value"].mean())


def test_a_channel_that_never_changes_within_trials_has_no_r2_but_one_over_frames(decoded_session, tmp_path):
    levels = [np.full((len(each), 1), index % 2, np.float32) for index, each in enumerate(decoded_session.behaviour)]
    steps = dataclasses.replace(decoded_session, behaviour=tuple(levels), behaviour_names=("lick",))
    trials = decoded_session.trials_of("train")
    table, by_trial = scored(steps, trials, {("GLM", ""): [levels[trial] for trial in trials]})
    save_item(tmp_path, "fig4b", table, None, {})
    back = read_item(tmp_path / "fig4b.csv").set_index("metric")
    assert np.isnan(back.loc["r2 lick", "value"]) and back.loc["r2 lick", "n"] == 0
    assert back.loc["r2 over frames lick", "value"] == 1 and by_trial.empty


def many(session, levels, dataset="cohort", seeds=(0,)):
    """Two sessions decoded with the given noise, held-in and held-out, by every training, and the gains."""
    results = Results(dataset, 0)
    for name in ("a", "b"):
        each, trials = dataclasses.replace(session, name=name), session.trials_of("test")
        for group in ("held-in", "held-out"):
            for seed in seeds:
                decoded = {method: guesses(session, trials, noise, seed) for method, noise in levels.items()}
                score_decoding(results.of_seed(seed), decoded, each, trials, WINDOW, item="fig4c", group=group)
    for group in ("held-in", "held-out"):
        add_gains(results, "fig4c", group)
    return results.table("fig4c")


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_gains_are_differences_to_poyo_in_points_and_relative(decoded_session, seeds):
    table = many(decoded_session, LEVELS, seeds=seeds).query("group == 'held-in'")
    means = summarise(table).set_index(["method", "metric"])["mean"]
    for channel in ("", *(f" {name}" for name in BEHAVIOURS)):
        ours, rival = means["CalM", f"r2{channel}"], means["POYO+", f"r2{channel}"]
        points = table[table["metric"] == f"r2 gain over POYO+{channel}"]
        assert sorted(points["session"]) == ["a", "b"] and points["value"].mean() == pytest.approx(ours - rival)
        (relative,) = table[table["metric"] == f"relative r2 gain over POYO+{channel}"].itertuples()
        assert relative.value == pytest.approx(ours / rival - 1) and relative.session == "all" and relative.n == 2
    assert table["metric"].str.contains("gain").sum() == 4 * 3


def test_gains_over_a_rival_that_decodes_nothing_are_not_relative_and_without_one_there_are_none(decoded_session):
    table = many(decoded_session, {**LEVELS, ("POYO+", AHEAD): 5.0})
    assert table.query("metric == 'relative r2 gain over POYO+ yaw'")["value"].isna().all()
    assert not many(decoded_session, {("CalM", "GLU head"): 0.2})["metric"].str.contains("gain").any()
