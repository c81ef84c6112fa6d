"""The sessions that a notebook works on, prepared: simulated ones, or those of a dataset description."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from calm.config.synthetic import COHORT, SIMULATION
from calm.data.descriptions import Dataset, load_dataset, states
from calm.data.preparation import prepare
from calm.data.reading import read_checked, read_sessions
from calm.data.session import Session
from calm.data.store import load_session, store_session
from calm.errors import CalmError
from calm.paths import DATA, RUNS, address_of
from calm.profile import Profile
from calm.storage import is_stored, stage_key
from calm.synthetic.cohort import DESCRIPTION, make_cohort
from calm.synthetic.simulation import simulate
from calm.synthetic.truth import Truth, read_truth

VERSION = 4  # of this stage; raised with any change to what it computes
COHORT_HORIZON = 24  # frames, unless the profile says another; what the paper gives POCO


@dataclasses.dataclass(frozen=True, eq=False)
class Recordings:
    """Prepared sessions.

    Attributes:
        name: of the dataset.
        held_in: sessions that models are trained on.
        held_out: sessions of subjects that pretraining does not see.
        profile: the numbers to use, with the context and horizon of this dataset.
        smoothing: weight of the newest frame in the smoothing that the sessions were prepared with; 1 is none.
        files: where each session was read from; none if it was simulated.
    """

    name: str
    held_in: list[Session]
    held_out: list[Session]
    profile: Profile
    smoothing: float = 1.0
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)

    @property
    def groups(self) -> dict[str, list[Session]]:
        """Sessions by whether their subject is held out; a group without sessions is left out."""
        groups = {"held-in": self.held_in, "held-out": self.held_out}
        return {name: sessions for name, sessions in groups.items() if sessions}

    def each(self) -> Iterator[tuple[str, Session]]:
        """Every session, after the name of its group."""
        return ((group, session) for group, sessions in self.groups.items() for session in sessions)

    @property
    def truth_files(self) -> Mapping[str, Path]:
        """The files of synthetic sessions, beside which the truth lies; none if they were recorded."""
        return self.files if self.name == COHORT else {}

    def truth(self, session: Session) -> Truth | None:
        """What is behind a synthetic session, or None if it was recorded.

        Raises:
            CalmError: the truth beside the file is damaged.
        """
        return read_truth(self.truth_files[session.name]) if session.name in self.truth_files else None

    @property
    def fingerprints(self) -> dict[str, str]:
        """Hash of every session, for the provenance."""
        return {session.name: session.fingerprint() for session in [*self.held_in, *self.held_out]}


def load_recordings(dataset: str, profile: Profile, *, seed: int, runs: Path = RUNS) -> Recordings:
    """Simulated networks for `simulation`, synthetic mice for `cohort`, else what the description at that path names.

    Context and horizon are the description's if it states them, else the profile's. Without a horizon, forecasts of the
    simulation go to the end of each trial, of the cohort over COHORT_HORIZON frames, and of other recordings to the end
    of the shortest trial; windows of POYO+ are no longer than half that trial. The cohort's files are made in `data/`,
    unless they are there; prepared sessions are kept in `runs`.

    Raises:
        CalmError: what is wrong with the description or the files; see `calm.data.descriptions`, `calm.data.session`.
    """
    if dataset == SIMULATION:
        return simulate_recordings(profile, seed)
    if dataset == COHORT:
        horizon = profile.forecast.horizon or COHORT_HORIZON
        profile = profile.changed(forecast=profile.forecast.changed(horizon=horizon))
        return read_recordings(load_dataset(make_cohort(profile.cohort, DATA) / DESCRIPTION), profile, seed, runs)
    description = load_dataset(dataset)
    if description.name in (SIMULATION, COHORT):
        raise CalmError(f"{dataset}: `name` {description.name} is taken by calm's own data: choose another.")
    return read_recordings(description, profile, seed, runs)


def simulate_recordings(profile: Profile, seed: int) -> Recordings:
    """One network for each seed of the profile, and networks that no model is trained on."""
    config = profile.simulation
    held_in, held_out = (
        [prepare(simulate(config, network).session, seed=seed) for network in networks]
        for networks in (config.seeds, config.held_out_seeds)
    )
    return Recordings(SIMULATION, held_in, held_out, profile)


def read_recordings(dataset: Dataset, profile: Profile, seed: int, runs: Path) -> Recordings:
    """Read, check and prepare the sessions of a description."""
    context, window = dataset.context or profile.forecast.context, profile.quantizer.window
    if context % window:
        raise CalmError(f"{dataset.name}: a `context` of {context} ends within a token: use a multiple of {window}.")
    by_file = read_sessions(dataset, lambda file: prepare_once(file, dataset, context + window, seed, runs))
    sessions = list(by_file.values())
    held_in = [session for session in sessions if session.subject not in dataset.held_out]
    if not held_in:
        raise CalmError(f"{dataset.name}: every subject is held out: leave one to train on out of `held_out`.")
    to_the_end = min(int(session.frames.min()) for session in sessions) - context
    longest = max(int(session.frames.max()) for session in sessions) - context
    if dataset.horizon and dataset.horizon > longest:
        raise CalmError(
            f"{dataset.name}: a `horizon` of {dataset.horizon} frames is more than the {longest} after the context of"
            " the longest trial: shorten it."
        )
    return Recordings(
        name=dataset.name,
        held_in=held_in,
        held_out=[session for session in sessions if session.subject in dataset.held_out],
        profile=with_windows(
            with_forecast(profile, context, dataset.horizon or profile.forecast.horizon or to_the_end),
            min(float(session.frames.min() / session.rate) for session in sessions) / 2,
        ),
        smoothing=dataset.smoothing,
        files={session.name: path for path, session in by_file.items()},
    )


def prepare_once(file: Path, dataset: Dataset, min_frames: int, seed: int, runs: Path) -> Session:
    """One prepared session of a description, its trials on the disk; what was prepared before is loaded."""
    identity = f"{states(file if address_of(file) else file.resolve())} {min_frames}"
    # What changes nothing about a session must not make it be read again.
    relevant = dataset.changed(name="", files=(file.name,), exclude=(), held_out=(), context=None, horizon=None)
    folder = runs / "sessions" / stage_key(file.stem, [relevant], [identity], seed, VERSION)
    if not is_stored(folder):
        session = read_checked(file, dataset, min_frames=min_frames)
        store_session(folder, prepare(session, seed=seed, smoothing=dataset.smoothing, min_frames=min_frames))
    return load_session(folder)


def with_forecast(profile: Profile, context: int, horizon: int) -> Profile:
    """The profile with this context and horizon; networks that forecast a block at once get the horizon as block."""
    forecast = profile.forecast.changed(context=context, horizon=horizon)
    blocks = {name: getattr(profile, name).changed(horizon=horizon) for name in ("patchtst", "itransformer", "poco")}
    return profile.changed(forecast=forecast, **blocks)


def with_windows(profile: Profile, longest: float) -> Profile:
    """The profile with windows of POYO+ of `longest` s or less.

    It is trained on whole windows. Of windows as long as the trials it learned what happens when, and could read none
    of those that limit its look-ahead, which begin elsewhere (R2 over frames of licks of S1 -0.3; of half trials 0.2).
    """
    configs = {name: getattr(profile, name) for name in ("poyo_single", "poyo")}
    return profile.changed(**{name: each.changed(window=min(each.window, longest)) for name, each in configs.items()})
