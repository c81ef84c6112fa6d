"""The decoders of Figure 4: trained on one session, on many at once and with fewer labels, and what they score.

What the metrics are called: `r2 yaw`, `mse yaw` and `corr yaw` are of the channel yaw, per trial, then averaged over
trials, as the paper's authors do; `r2 over frames yaw` is over all frames of a session's trials at once. Without a
channel, they are means over the channels.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.baselines.linear_decoders import GLM, RRR
from calm.baselines.poyo import POYO
from calm.baselines.tcn import TCNDecoder
from calm.config import FitConfig, RidgeDecoderConfig
from calm.data.session import Session
from calm.metrics import channel_scores
from calm.models.heads import BehaviourHead
from calm.models.interfaces import Decoder
from calm.paper.experiments.methods import Method, MethodSet
from calm.paper.results import Results
from calm.profile import Profile
from calm.recordings import Recordings
from calm.synthetic.truth import Truth, under_trials
from calm.training.decoding import HEADS, HeadDecoder, NetworkDecoder, with_share
from calm.training.features import (
    BackboneFeatures,
    Extractor,
    FeatureSession,
    RawFeatures,
    on_whole_tokens,
    store_features,
)
from calm.training.stages import Search, Task, search, train
from calm.training.tasks import DecoderTask, HeadTask

Behaviour = Sequence[Float[np.ndarray, "_frame behaviour"]]  # true or decoded, a trial each
CONTROL = "raw traces"  # the same heads on the traces themselves: does the backbone help at all?
CEILING = ("ceiling", "known rates, linear")
GLU, RIVAL = ("CalM", "GLU head"), ("POYO+", "")  # whose difference is the gain of Fig. 4C


def network_tasks(session: Session, profile: Profile) -> dict[str, tuple[DecoderTask, FitConfig]]:
    """The networks that Figure 4B compares CalM with, on one session."""
    return {
        "TCN": (DecoderTask(TCNDecoder, profile.tcn_decoder, [session]), profile.tcn_decoder_fit),
        "POYO+": (DecoderTask(POYO, profile.poyo_single, [session]), profile.poyo_single_fit),
    }


def linear_decoders(session: Session, config: RidgeDecoderConfig, window: int) -> MethodSet[Decoder]:
    """GLM and RRR of a session, and a GLM that sees as far ahead as a head does: to the end of a token."""
    fitted, ahead = MethodSet[Decoder](), window - 1
    fitted.fit(("GLM", ""), GLM(config), session)
    fitted.fit(("GLM", f"{ahead} frames ahead"), GLM(config.changed(ahead=ahead)), session)
    fitted.fit(("RRR", ""), RRR(config), session)
    return fitted


def head_features(session: Session, backbone: BackboneFeatures, runs: Path) -> dict[str, FeatureSession]:
    """What heads are put on, by the name of the method."""
    extractors: dict[str, Extractor] = {"CalM": backbone, CONTROL: RawFeatures(backbone.window)}
    return {method: store_features(extractor, session, runs) for method, extractor in extractors.items()}


def train_on_one(
    session: Session, features: Mapping[str, FeatureSession], profile: Profile, *, seed: int, runs: Path
) -> MethodSet[Decoder]:
    """Every decoder of one session: heads on its `head_features`, and the baselines (Fig. 4B)."""
    trained = linear_decoders(session, profile.ridge_decoder, profile.quantizer.window)
    for method, each in features.items():
        for name, kind in HEADS.items():
            task = HeadTask(kind, profile.head, [each])
            tries = search(task, profile.head_fit, profile.learning_rates, seed=seed, runs=runs)
            trained.add((method, name), HeadDecoder(tries.chosen.model, each.extractor, session.name), tries)
    for name, network_task in network_tasks(session, profile).items():
        tries = search(*network_task, profile.learning_rates, seed=seed, runs=runs)
        trained.add((name, ""), NetworkDecoder(tries.chosen.model, session.name), tries)
    return trained


def train_with_share(
    session: Session, features: Mapping[str, FeatureSession], share: float, profile: Profile, *, seed: int, runs: Path
) -> MethodSet[Decoder]:
    """Heads, GLM and RRR that know the behaviour of a share of the training trials; without a search."""
    labelled = with_share(session, share, seed=seed)
    trained = linear_decoders(labelled, profile.ridge_decoder, profile.quantizer.window)
    for method, each in features.items():
        known = dataclasses.replace(each, session=labelled)
        for name, kind in HEADS.items():
            head = train(HeadTask(kind, profile.head, [known]), profile.head_fit, seed=seed, runs=runs)
            trained.methods[method, name] = HeadDecoder(head.model, each.extractor, session.name)
    return trained


def search_on_many(
    sessions: Sequence[Session],
    backbone: BackboneFeatures,
    profile: Profile,
    *,
    pretrained: Mapping[Method, Search],
    seed: int,
    runs: Path,
) -> dict[Method, Search]:
    """CalM's heads and POYO+ of many sessions at once (Fig. 4C).

    Of `pretrained` ones, those of held-in sessions, only what belongs to the new sessions is trained: rows of the
    neuron bank of a head, and POYO+'s embeddings of units and session.
    """
    features = [store_features(backbone, session, runs) for session in sessions]
    head_fit = profile.bank_fit if pretrained else profile.head_fit
    tasks: dict[Method, tuple[Task, FitConfig]] = {
        ("CalM", name): (HeadTask(kind, profile.head, features), head_fit) for name, kind in HEADS.items()
    }
    tasks["POYO+", ""] = (DecoderTask(POYO, profile.poyo, sessions), profile.poyo_fit)
    return {
        method: search(
            *task,
            profile.learning_rates,
            seed=seed,
            runs=runs,
            pretrained=pretrained[method].chosen if pretrained else None,
        )
        for method, task in tasks.items()
    }


def decoders_of(searches: Mapping[Method, Search], backbone: BackboneFeatures, session: Session) -> MethodSet[Decoder]:
    """The decoders of many sessions, on one of them."""
    trained = MethodSet[Decoder]()
    for method, tries in searches.items():
        model = tries.chosen.model
        if isinstance(model, BehaviourHead):
            trained.add(method, HeadDecoder(model, backbone, session.name), tries)
        else:
            trained.add(method, NetworkDecoder(model, session.name), tries)
    return trained


def decode_known_rates(truth: Truth, session: Session, config: RidgeDecoderConfig) -> Behaviour:
    """All trials by a GLM that is given the noise-free rates of the neurons: a linear decoder's best."""
    everyone, everything = np.arange(len(session.neurons)), np.arange(len(session.traces))
    rates = under_trials(truth, session, everyone, everything, truth.rates)
    rates = (rates - rates.mean(axis=1, keepdims=True)) / (rates.std(axis=1, keepdims=True) + 1e-6)
    traces = tuple(np.split(rates.astype(np.float32), np.cumsum(session.frames)[:-1], axis=1))
    return GLM(config).fit(dataclasses.replace(session, traces=traces)).decode(traces)


def decode_trials(
    trained: MethodSet[Decoder], session: Session, trials: Int[np.ndarray, " trial"]
) -> dict[Method, Behaviour]:
    """What each decoder makes of some trials."""
    traces = [session.traces[trial] for trial in trials]
    return trained.use(lambda decoder: decoder.decode(traces), len(trials))


def compare_decoders(
    results: Results,
    trained: MethodSet[Decoder],
    recordings: Recordings,
    session: Session,
    *,
    item: str,
    group: str = "",
) -> dict[Method, Behaviour]:
    """Score decoders on validation and test trials, and the ceiling where the truth is known.

    Returns what was decoded of the test trials.
    """
    truth, profile = recordings.truth(session), recordings.profile
    known = None if truth is None else decode_known_rates(truth, session, profile.ridge_decoder)
    for split in ("val", "test"):
        trials = session.trials_of(split)
        decoded = decode_trials(trained, session, trials)
        if known is not None:
            decoded[CEILING] = [known[trial] for trial in trials]
        scored = (results, decoded, session, trials, profile.quantizer.window)
        score_decoding(*scored, item=item, group=group)
        score_trials(*scored, item=f"{item}_trials", group=group)
    return decoded


def score_decoding(
    results: Results,
    decoded: Mapping[Method, Behaviour],
    session: Session,
    trials: Int[np.ndarray, " trial"],
    window: int,
    **where: str | float,
) -> None:
    """Add scores of a session: means over trials of one split, and R2 over all their frames.

    All methods are scored on whole tokens of `window` frames, which is all that CalM has. Trials on which a score is
    not defined (see `calm.metrics.channel_scores`) take no part in it: `n` tells how many do. `where` is of all these
    results: the item, and what else tells them from others.
    """
    where |= {"split": session.trials["split"].iloc[trials[0]], "session": session.name}
    true = on_whole_tokens([session.behaviour[trial] for trial in trials], window)
    for (method, variant), behaviour in decoded.items():
        predicted = on_whole_tokens(behaviour, window)
        for metric, (value, n) in session_scores(true, predicted, session.behaviour_names).items():
            results.add(metric, value, n=n, method=method, variant=variant, **where)


def score_trials(
    results: Results,
    decoded: Mapping[Method, Behaviour],
    session: Session,
    trials: Int[np.ndarray, " trial"],
    window: int,
    **where: str,
) -> None:
    """Add R2 of each trial, of the channels that have one and of their mean; see `score_decoding`."""
    where |= {"split": session.trials["split"].iloc[trials[0]], "session": session.name}
    true = on_whole_tokens([session.behaviour[trial] for trial in trials], window)
    for (method, variant), behaviour in decoded.items():
        for trial, *pair in zip(trials, true, on_whole_tokens(behaviour, window), strict=True):
            scores = pd.DataFrame([channel_scores(*pair)["r2"]], columns=session.behaviour_names)
            for metric, (value, n) in by_channel("r2", scores).items():
                if n:
                    results.add(metric, value, trial=trial, method=method, variant=variant, **where)


def session_scores(true: Behaviour, predicted: Behaviour, channels: Sequence[str]) -> dict[str, tuple[float, int]]:
    """Every metric of a session, with the number of trials that it is the mean of."""
    trials, scores = [channel_scores(*pair) for pair in zip(true, predicted, strict=True)], {}
    for metric in ("r2", "mse", "corr"):
        scores |= by_channel(metric, pd.DataFrame([trial[metric] for trial in trials], columns=channels))
    joined = channel_scores(np.concatenate(true), np.concatenate(predicted))["r2"]
    over_frames = by_channel("r2 over frames", pd.DataFrame([joined], columns=channels))
    return scores | {metric: (value, n * len(trials)) for metric, (value, n) in over_frames.items()}


def by_channel(metric: str, scores: pd.DataFrame) -> dict[str, tuple[float, int]]:
    """Mean and n of a metric over trials (rows) for each channel (columns), and over channels; NaN without any."""
    means, counts = scores.mean(), scores.count()
    channels = {f"{metric} {channel}": (float(means[channel]), int(counts[channel])) for channel in scores}
    return {metric: (float(means.mean()), int(counts.max())), **channels}


def is_trial_r2(metric: str) -> bool:
    """Whether a metric is R2 per trial, of a channel or of all."""
    return metric == "r2" or (metric.startswith("r2 ") and not metric.startswith("r2 over frames"))


def add_gains(results: Results, item: str, group: str) -> None:
    """Add by how much the GLU head is above POYO+ on test trials of a group, for each channel and their mean (Fig. 4C).

    In points of R2, a session each, and relative to POYO+'s mean over sessions (NaN where that is not above 0): the
    paper does not say which of them its gains are.
    """
    scores = results.table(item)
    scores = scores[(scores["split"] == "test") & (scores["group"] == group) & scores["metric"].map(is_trial_r2)]
    ours, rival = (
        scores[(scores["method"] == method) & (scores["variant"] == variant)].set_index(["metric", "session"])
        for method, variant in (GLU, RIVAL)
    )
    both = ours.join(rival["value"].rename("rival"), how="inner")
    where = {"item": item, "split": "test", "group": group, "method": GLU[0], "variant": GLU[1]}
    for (metric, session), row in both.iterrows():
        channel = metric.removeprefix("r2")
        points = row["value"] - row["rival"]
        results.add(f"r2 gain over POYO+{channel}", points, n=row["n"], session=session, **where)
    for metric, rows in both.groupby(level="metric", sort=False):
        level, channel = rows["rival"].mean(), metric.removeprefix("r2")
        relative = rows["value"].mean() / level - 1 if level > 0 else np.nan
        results.add(f"relative r2 gain over POYO+{channel}", relative, n=len(rows), session="all", **where)
