"""All decoders of a figure, trained: on single sessions, on many at once, and with fewer labels."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from calm.baselines.linear_decoders import GLM, RRR
from calm.baselines.poyo import POYO
from calm.baselines.tcn_decoder import TCNDecoder
from calm.config import FitConfig, RidgeDecoderConfig
from calm.data.session import Session
from calm.models.heads import BehaviourHead
from calm.models.interfaces import Decoder
from calm.paper.experiments.decoding_scores import DecodingScores
from calm.paper.experiments.evaluation import Cost, Label
from calm.profile import Profile
from calm.recordings import Recordings
from calm.synthetic.truth import Truth, under_trials
from calm.training.decoding import HEADS, HeadDecoder, NetworkDecoder, with_share
from calm.training.features import BackboneFeatures, Extractor, FeatureSession, RawFeatures, store_features
from calm.training.stages import Search, Task, search, train
from calm.training.tasks import DecoderTask, HeadTask

Decoders = dict[Label, Decoder]
Decoded = list[Float[np.ndarray, "_frame behaviour"]]
CONTROL = "raw traces"  # the same heads on the traces themselves: does the backbone help at all?
CEILING = ("ceiling", "known rates, linear")


@dataclasses.dataclass(eq=False)
class DecoderSet:
    """Trained decoders of a session, with what they took and how their searches went."""

    decoders: Decoders = dataclasses.field(default_factory=dict)
    costs: dict[Label, Cost] = dataclasses.field(default_factory=dict)
    tries: dict[Label, Search] = dataclasses.field(default_factory=dict)

    def add(self, label: Label, decoder: Decoder, found: Search) -> None:
        """A decoder that was searched."""
        self.decoders[label], self.tries[label] = decoder, found
        self.costs[label] = Cost(found.chosen.parameters, found.chosen.seconds, found.seconds)


def network_tasks(session: Session, profile: Profile) -> dict[str, tuple[DecoderTask, FitConfig]]:
    """The networks that Figure 4B compares CalM with, on one session."""
    return {
        "TCN": (DecoderTask(TCNDecoder, profile.tcn_decoder, [session]), profile.tcn_decoder_fit),
        "POYO+": (DecoderTask(POYO, profile.poyo_single, [session]), profile.poyo_single_fit),
    }


def linear_decoders(session: Session, config: RidgeDecoderConfig, window: int) -> tuple[Decoders, dict[Label, Cost]]:
    """GLM and RRR of a session, and a GLM that sees as far ahead as a head does: to the end of a token."""
    fair = config.changed(ahead=window - 1)
    methods = {("GLM", ""): GLM(config), ("GLM", f"{window - 1} frames ahead"): GLM(fair), ("RRR", ""): RRR(config)}
    costs: dict[Label, Cost] = {}
    for label, method in methods.items():
        began = time.perf_counter()
        method.fit(session)
        seconds = time.perf_counter() - began
        costs[label] = Cost(method.parameters, seconds, seconds)
    return dict(methods), costs


def train_single_decoders(
    session: Session, features: Mapping[str, FeatureSession], profile: Profile, *, seed: int, runs: Path
) -> DecoderSet:
    """Every decoder of one session: heads on what `features_of` has of it, and the baselines (Fig. 4B)."""
    profile = profile.of_one_recording()
    found = DecoderSet(*linear_decoders(session, profile.ridge_decoder, profile.quantizer.window))
    for method, given in features.items():
        for name, kind in HEADS.items():
            task = HeadTask(kind, profile.head, [given])
            heads = search(task, profile.head_fit, profile.learning_rates, seed=seed, runs=runs)
            found.add((method, name), HeadDecoder(heads.chosen.model, given.extractor, session.name), heads)
    for name, network_task in network_tasks(session, profile).items():
        networks = search(*network_task, profile.learning_rates, seed=seed, runs=runs)
        found.add((name, ""), NetworkDecoder(networks.chosen.model, session.name), networks)
    return found


def features_of(session: Session, backbone: BackboneFeatures, runs: Path) -> dict[str, FeatureSession]:
    """What heads are put on, by the name of the method."""
    kinds: dict[str, Extractor] = {"CalM": backbone, CONTROL: RawFeatures(backbone.window)}
    return {method: store_features(kind, session, runs) for method, kind in kinds.items()}


def train_share(
    session: Session, features: Mapping[str, FeatureSession], share: float, profile: Profile, *, seed: int, runs: Path
) -> Decoders:
    """Heads and GLM that know the behaviour of a share of the training trials; without a search."""
    profile, labelled = profile.of_one_recording(), with_share(session, share, seed=seed)
    decoders: Decoders = linear_decoders(labelled, profile.ridge_decoder, profile.quantizer.window)[0]
    for method, everything in features.items():
        given = dataclasses.replace(everything, session=labelled)
        for name, kind in HEADS.items():
            head = train(HeadTask(kind, profile.head, [given]), profile.head_fit, seed=seed, runs=runs)
            decoders[method, name] = HeadDecoder(head.model, given.extractor, session.name)
    return decoders


def train_many_decoders(
    groups: Mapping[str, Sequence[Session]],
    backbones: Mapping[str, BackboneFeatures],
    profile: Profile,
    *,
    seed: int,
    runs: Path,
) -> dict[str, dict[str, DecoderSet]]:
    """CalM's heads and POYO+ of many sessions (Fig. 4C): by group and session; held-out ones get only what is theirs.

    That is rows of the neuron bank of a head, and embeddings of units and session of POYO+.
    """
    held_in: dict[Label, Search] = {}
    sets: dict[str, dict[str, DecoderSet]] = {}
    for group, sessions in groups.items():
        features = [store_features(backbones[group], session, runs) for session in sessions]
        tasks: dict[Label, Task] = {
            ("CalM", name): HeadTask(kind, profile.head, features) for name, kind in HEADS.items()
        }
        tasks["POYO+", ""] = DecoderTask(POYO, profile.poyo, sessions)
        found: dict[Label, Search] = {}
        for label, task in tasks.items():
            pretrained = held_in[label].chosen if held_in else None
            head_fit = profile.bank_fit if held_in else profile.head_fit
            fit_config = head_fit if isinstance(task, HeadTask) else profile.poyo_fit
            found[label] = search(task, fit_config, profile.learning_rates, seed=seed, runs=runs, pretrained=pretrained)
        held_in = held_in or found
        sets[group] = {session.name: set_of(found, backbones[group], session) for session in sessions}
    return sets


def set_of(found: Mapping[Label, Search], backbone: BackboneFeatures, session: Session) -> DecoderSet:
    """The decoders of many sessions, on one of them."""
    decoders = DecoderSet()
    for (method, name), searched in found.items():
        model = searched.chosen.model
        if isinstance(model, BehaviourHead):
            decoders.add((method, name), HeadDecoder(model, backbone, session.name), searched)
        else:
            decoders.add((method, name), NetworkDecoder(model, session.name), searched)
    return decoders


def decode_known_rates(
    truth: Truth, session: Session, trials: Int[np.ndarray, " part"], config: RidgeDecoderConfig
) -> Decoded:
    """A GLM that is given the noise-free rates of the neurons: what a linear decoder could read at best."""
    everyone, everything = np.arange(len(session.neurons)), np.arange(len(session.traces))
    rates = under_trials(truth, session, everyone, everything, truth.rates)
    rates = (rates - rates.mean(axis=1, keepdims=True)) / (rates.std(axis=1, keepdims=True) + 1e-6)
    traces = tuple(np.split(rates.astype(np.float32), np.cumsum(session.frames)[:-1], axis=1))
    return GLM(config).fit(dataclasses.replace(session, traces=traces)).decode([traces[trial] for trial in trials])


def score_decoders(
    scores: DecodingScores,
    recordings: Recordings,
    session: Session,
    decoders: Decoders,
    group: str = "",
) -> tuple[dict[Label, Decoded], dict[Label, float]]:
    """Score decoders on validation and test trials, and the ceiling where the truth is known.

    Returns what was decoded of the test trials, and the seconds that each decoder took for one.
    """
    truth, ridge = recordings.truth(session), recordings.profile.ridge_decoder
    known = None if truth is None else decode_known_rates(truth, session, np.arange(len(session.traces)), ridge)
    for split in ("val", "test"):
        trials = session.trials_of(split)
        decoded, seconds = decode_trials(decoders, session, trials)
        if known is not None:
            decoded[CEILING] = [known[trial] for trial in trials]
        scores.add(session, trials, decoded, group)
    return decoded, seconds


def decode_trials(
    decoders: Decoders, session: Session, trials: Int[np.ndarray, " part"]
) -> tuple[dict[Label, Decoded], dict[Label, float]]:
    """What each decoder makes of some trials, and the seconds per trial that it took."""
    traces, decoded, seconds = [session.traces[trial] for trial in trials], {}, {}
    for label, decoder in decoders.items():
        began = time.perf_counter()
        decoded[label] = decoder.decode(traces)
        seconds[label] = (time.perf_counter() - began) / len(trials)
    return decoded, seconds
