"""The decoders of Figure 4: trained on one session, on many at once and with fewer labels, and what they score.

What the metrics are called: `r2 yaw`, `mse yaw` and `corr yaw` are of the channel yaw, per trial, then averaged over
trials, as the paper's authors do; `r2 over frames yaw` is over all frames of a session's trials at once. Without a
channel, they are means over the channels.

Heads see some frames after the present one, `HeadConfig.look_ahead`. Every rival is there as in the paper, and once
more, as the variant `equal look-ahead`, with as many frames: this is what heads are to be compared with.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import nn

from calm.baselines.linear_decoders import GLM, RRR
from calm.baselines.poyo import POYO
from calm.baselines.tcn import TCNDecoder
from calm.config.base import Config
from calm.config.fitting import FitConfig
from calm.config.models import HeadConfig
from calm.config.rivals import RidgeDecoderConfig
from calm.data.session import Session
from calm.metrics import channel_scores
from calm.models.heads import BehaviourHead
from calm.models.interfaces import Decoder
from calm.paper.experiments.forecasting import PATCHES, train_calm, train_rivals
from calm.paper.experiments.methods import Method, MethodSet
from calm.paper.experiments.patches import PatchFeatures
from calm.paper.results import Results
from calm.profile import Profile
from calm.recordings import Recordings
from calm.synthetic.truth import Truth, under_trials
from calm.training.decoding import HEADS, DecoderTask, HeadDecoder, HeadTask, NetworkDecoder, with_share
from calm.training.features import BackboneFeatures, Extractor, FeatureSession, RawFeatures, on_whole_tokens
from calm.training.stages import Search, Task, search

Behaviour = Sequence[Float[np.ndarray, "_frame behaviour"]]  # true or decoded, of each trial
CONTROL = "raw traces"  # the same heads on the traces themselves: does the backbone help at all?
CEILING = ("ceiling", "known rates, linear")
AHEAD = "equal look-ahead"  # variant of a rival that sees as many frames ahead as the heads
Tasks = dict[Method, tuple[Task, FitConfig]]
GLU, RIVAL = ("CalM", "GLU head"), ("POYO+", AHEAD)  # whose difference is the gain of Fig. 4C


def variants(config: Config, look_ahead: int, names: Sequence[str] = ("", AHEAD)) -> dict[str, Config]:
    """A rival's numbers as they are, and with these frames ahead; or one of both."""
    both = {"": config, AHEAD: config.changed(look_ahead=look_ahead)}
    return {name: both[name] for name in names}


def linear_decoders(session: Session, configs: Mapping[str, RidgeDecoderConfig]) -> MethodSet[Decoder]:
    """GLM and RRR of a session, in some variants."""
    fitted = MethodSet[Decoder]()
    for variant, config in configs.items():
        fitted.fit(("GLM", variant), GLM(config), session)
        fitted.fit(("RRR", variant), RRR(config), session)
    return fitted


def train_backbones(recordings: Recordings, *, seed: int, runs: Path) -> dict[str, dict[str, Extractor]]:
    """What heads are put on, by group of sessions and name of the method: models of many sessions, and raw traces."""
    quantizer, transformers = train_calm(recordings, seed=seed, runs=runs)
    rivals = train_rivals(recordings, [PATCHES], seed=seed, runs=runs)
    return {
        group: {
            "CalM": BackboneFeatures(quantizer, transformer),
            PATCHES: PatchFeatures(rivals[group][PATCHES]),
            CONTROL: RawFeatures(quantizer.model.config.window),
        }
        for group, transformer in transformers.items()
    }


def head_features(session: Session, extractors: Mapping[str, Extractor]) -> dict[str, FeatureSession]:
    """The features of a session, by the name of the method."""
    return {method: FeatureSession(session, extractor) for method, extractor in extractors.items()}


def head_tasks(method: str, features: Sequence[FeatureSession], config: HeadConfig, fit: FitConfig) -> Tasks:
    """CalM's heads on the features of some sessions, whose name is `method`."""
    return {(method, name): (HeadTask(kind, config, features), fit) for name, kind in HEADS.items()}


def as_decoder(model: nn.Module, extractor: Extractor | None, session: Session) -> Decoder:
    """A trained head, on the features of an extractor, or a network on traces as a decoder of a session."""
    if isinstance(model, BehaviourHead):
        return HeadDecoder(model, extractor, session.name)
    return NetworkDecoder(model, session.name)


def train_on_one(
    session: Session,
    features: Mapping[str, FeatureSession],
    profile: Profile,
    *,
    rivals: Sequence[str] = ("", AHEAD),
    seed: int,
    runs: Path,
) -> MethodSet[Decoder]:
    """Every decoder of one session: heads on its `head_features`, and the baselines in some variants (Fig. 4B)."""
    look_ahead, tasks = profile.head.look_ahead, {}
    trained = linear_decoders(session, variants(profile.ridge_decoder, look_ahead, rivals))
    for method, each in features.items():
        tasks |= head_tasks(method, [each], profile.head, profile.head_fit)
    for variant, config in variants(profile.tcn_decoder, look_ahead, rivals).items():
        tasks["TCN", variant] = DecoderTask(TCNDecoder, config, [session]), profile.tcn_decoder_fit
    tasks["POYO+", ""] = DecoderTask(POYO, profile.poyo_single, [session]), profile.poyo_single_fit
    for name, task in tasks.items():
        tries = search(*task, profile.learning_rates, seed=seed, runs=runs)
        extractor = features[name[0]].extractor if name[0] in features else None
        trained.add(name, as_decoder(tries.chosen.model, extractor, session), tries)
    add_limited(trained, session, look_ahead)
    return trained


def decoders_at(
    look_ahead: int,
    session: Session,
    features: Mapping[str, FeatureSession],
    profile: Profile,
    *,
    networks: bool,
    seed: int,
    runs: Path,
) -> MethodSet[Decoder]:
    """Those of a session that see so many frames ahead: GLM and RRR, and the `networks` that have to be trained."""
    profile = profile.changed(head=profile.head.changed(look_ahead=look_ahead))
    if networks:
        trained = train_on_one(session, features, profile, rivals=[AHEAD], seed=seed, runs=runs)
    else:
        trained = linear_decoders(session, variants(profile.ridge_decoder, look_ahead, [AHEAD]))
    return MethodSet({name: each for name, each in trained.methods.items() if name != ("POYO+", "")})


def add_limited(trained: MethodSet[Decoder], session: Session, look_ahead: int) -> None:
    """Add POYO+ limited to the frames that the heads see: nothing is trained again."""
    tries = trained.searches["POYO+", ""]
    limited = tries.chosen.model.limited(look_ahead)
    trained.add(("POYO+", AHEAD), NetworkDecoder(limited, session.name), tries)


def train_with_share(
    session: Session, features: Mapping[str, FeatureSession], share: float, profile: Profile, *, seed: int, runs: Path
) -> MethodSet[Decoder]:
    """Decoders of equal look-ahead that know the behaviour of a share of the training trials."""
    labelled = with_share(session, share, seed=seed)
    known = {method: dataclasses.replace(each, session=labelled) for method, each in features.items()}
    return decoders_at(profile.head.look_ahead, labelled, known, profile, networks=True, seed=seed, runs=runs)


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
    features = [FeatureSession(session, backbone) for session in sessions]
    tasks = head_tasks("CalM", features, profile.head, profile.bank_fit if pretrained else profile.head_fit)
    tasks["POYO+", ""] = DecoderTask(POYO, profile.poyo, sessions), profile.poyo_fit
    searches = {}
    for method, task in tasks.items():
        known = pretrained[method].chosen if pretrained else None
        searches[method] = search(*task, profile.learning_rates, seed=seed, runs=runs, pretrained=known)
    return searches


def decoders_of(
    searches: Mapping[Method, Search], backbone: BackboneFeatures, session: Session, look_ahead: int
) -> MethodSet[Decoder]:
    """The decoders of many sessions, on one of them; POYO+ a second time with no more frames ahead than the heads."""
    trained = MethodSet[Decoder]()
    for method, tries in searches.items():
        trained.add(method, as_decoder(tries.chosen.model, backbone, session), tries)
    add_limited(trained, session, look_ahead)
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
    ridge = profile.ridge_decoder.changed(look_ahead=profile.head.look_ahead)
    known = None if truth is None else decode_known_rates(truth, session, ridge)
    for split in ("val", "test"):
        trials = session.trials_of(split)
        decoded = decode_trials(trained, session, trials)
        if known is not None:
            decoded[CEILING] = [known[trial] for trial in trials]
        where = {"item": item, "trial_item": f"{item}_trials", "group": group}
        score_decoding(results, decoded, session, trials, profile.quantizer.window, **where)
    return decoded


def score_decoding(
    results: Results,
    decoded: Mapping[Method, Behaviour],
    session: Session,
    trials: Int[np.ndarray, " trial"],
    window: int,
    *,
    item: str,
    trial_item: str = "",
    **where: str | float,
) -> None:
    """Add scores of a session: means over trials of one split, and R2 over all their frames.

    All methods are scored on whole tokens of `window` frames, which is all that CalM has. Trials on which a score is
    not defined (see `calm.metrics.channel_scores`) take no part in it: `n` tells how many do. Where a `trial_item` is
    named, it gets the R2 of every trial. `where` is of all these results, and tells them from others.
    """
    where |= {"split": session.trials["split"].iloc[trials[0]], "session": session.name}
    true = on_whole_tokens([session.behaviour[trial] for trial in trials], window)
    for (method, variant), behaviour in decoded.items():
        where |= {"method": method, "variant": variant}
        scores, r2 = session_scores(true, on_whole_tokens(behaviour, window), session.behaviour_names)
        results.add_each(scores["metric"], scores["value"], item=item, n=scores["n"], **where)
        if trial_item:
            r2.insert(0, "r2", r2.mean(axis=1))
            rows = r2.assign(trial=trials).melt("trial", var_name="metric").dropna()
            results.add_each(rows["metric"], rows["value"], item=trial_item, trial=rows["trial"], **where)


def session_scores(true: Behaviour, predicted: Behaviour, channels: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every `metric` of a session, its `value` and the number `n` of trials that it is the mean of; R2 of each trial.

    The latter has a row for each trial and a column for each channel, as `r2 yaw`.
    """
    by_trial, tables = [channel_scores(*pair) for pair in zip(true, predicted, strict=True)], []
    for metric in ("r2", "mse", "corr"):
        tables.append(by_channel(metric, pd.DataFrame([trial[metric] for trial in by_trial], columns=channels)))
    joined = channel_scores(np.concatenate(true), np.concatenate(predicted))["r2"]
    over_frames = by_channel("r2 over frames", pd.DataFrame([joined], columns=channels))
    tables.append(over_frames.assign(n=over_frames["n"] * len(true)))
    r2 = pd.DataFrame([trial["r2"] for trial in by_trial], columns=[f"r2 {channel}" for channel in channels])
    return pd.concat(tables), r2


def by_channel(metric: str, scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and n of a metric over trials (rows) for each channel (columns), and over channels; NaN without any."""
    means, counts = scores.mean(), scores.count()
    names = [metric, *(f"{metric} {channel}" for channel in scores)]
    return pd.DataFrame({"metric": names, "value": [means.mean(), *means], "n": [counts.max(), *counts]})


def add_gains(results: Results, item: str, group: str) -> None:
    """Add by how much the GLU head is above POYO+ on test trials of a group, for each channel and their mean (Fig. 4C).

    POYO+ is limited to as many frames ahead as the head sees; the paper's is not known to be.
    In points of R2 for each session, and relative to POYO+'s mean over sessions (NaN where that is not above 0): the
    paper does not say which of them its gains are.
    """
    scores = results.table(item).query("split == 'test' and group == @group")
    scores = scores[scores["metric"].str.match(r"r2(?! over frames)")]
    ours, rival = (
        scores[(scores["method"] == name) & (scores["variant"] == variant)]
        .groupby(["metric", "session"], sort=False)[["value", "n"]]
        .mean()  # over trainings
        for name, variant in (GLU, RIVAL)
    )
    both = ours.join(rival["value"].rename("rival"), how="inner").reset_index()
    both["channel"] = both["metric"].str.removeprefix("r2")
    where = {"item": item, "split": "test", "group": group, "method": GLU[0], "variant": GLU[1]}
    points = both["value"] - both["rival"]
    results.add_each("r2 gain over POYO+" + both["channel"], points, n=both["n"], session=both["session"], **where)
    for channel, rows in both.groupby("channel", sort=False):
        level = rows["rival"].mean()
        relative = rows["value"].mean() / level - 1 if level > 0 else np.nan
        results.add(f"relative r2 gain over POYO+{channel}", relative, n=len(rows), session="all", **where)
