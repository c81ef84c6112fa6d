"""The sessions that a notebook works on, prepared: simulated ones, or those of a dataset description."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from calm.config import COHORT, SIMULATION
from calm.data.descriptions import Dataset, load_dataset, read_checked, read_sessions
from calm.data.session import Session, prepare
from calm.data.store import load_session, store_session
from calm.errors import CalmError
from calm.paths import DATA, RUNS
from calm.profile import Profile
from calm.storage import is_stored, stage_key
from calm.synthetic.cohort_files import DESCRIPTION, make_cohort
from calm.synthetic.network import simulate
from calm.synthetic.truth import Truth, read_truth

VERSION = 1  # of this stage; raised with any change to what it computes


@dataclasses.dataclass(frozen=True, eq=False)
class Recordings:
    """Prepared sessions.

    Attributes:
        name: of the dataset.
        held_in: sessions that models are trained on.
        held_out: sessions of subjects that pretraining does not see.
        profile: the numbers to use, with the dataset's own context length.
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

    def truth(self, session: Session) -> Truth | None:
        """What is behind a synthetic session, or None if it was recorded.

        Raises:
            CalmError: the truth beside the file is damaged.
        """
        return read_truth(self.files[session.name]) if self.name == COHORT else None

    @property
    def fingerprints(self) -> dict[str, str]:
        """Hash of every session, for the provenance."""
        return {session.name: session.fingerprint() for session in [*self.held_in, *self.held_out]}


def load_recordings(dataset: str, profile: Profile, *, seed: int, runs: Path = RUNS) -> Recordings:
    """Simulated networks for `simulation`, synthetic mice for `cohort`, else what the description at that path names.

    The cohort's files are made in `data/`, unless they are there; prepared recordings are kept in `runs`.

    Raises:
        CalmError: whatever is wrong with the description or the files; see `calm.data.descriptions` and `calm.data.session`.
    """
    if dataset == SIMULATION:
        return simulated(profile, seed)
    if dataset == COHORT:
        return described(cohort_folder(profile) / DESCRIPTION, profile, seed, runs)
    found = described(dataset, profile, seed, runs)
    if found.name in (SIMULATION, COHORT):
        raise CalmError(f"{dataset}: `name` {found.name} is taken by calm's own data: choose another.")
    return found


def cohort_folder(profile: Profile) -> Path:
    """Where the files of this profile's synthetic cohort are, which are made unless they are there.

    Raises:
        CalmError: they cannot be written.
    """
    config = profile.cohort
    folder = DATA / stage_key(COHORT, [config], [], config.seed, VERSION)
    make_cohort(config, folder)
    return folder


def simulated(profile: Profile, seed: int) -> Recordings:
    """One network for each seed of the profile, and networks that no model is trained on."""
    config = profile.simulation
    held_in, held_out = (
        [prepare(simulate(config, network).session, seed=seed) for network in networks]
        for networks in (config.seeds, config.held_out_seeds)
    )
    return Recordings(SIMULATION, held_in, held_out, profile)


def described(path: str | Path, profile: Profile, seed: int, runs: Path) -> Recordings:
    """Read, check and prepare the recordings of a description; what was prepared once is found again.

    Raises:
        CalmError: a context that ends within a token, or nothing to train on.
    """
    dataset, window = load_dataset(path), profile.quantizer.window
    if dataset.context % window:
        raise CalmError(f"{dataset.name}: `context` {dataset.context} ends within a token: use a multiple of {window}.")
    sessions = read_sessions(dataset, lambda file: prepared(file, dataset, dataset.context + window, seed, runs))
    held_in = [session for session in sessions if session.subject not in dataset.held_out]
    if not held_in:
        raise CalmError(f"{dataset.name}: every subject is held out: leave one to train on out of `held_out`.")
    return Recordings(
        name=dataset.name,
        held_in=held_in,
        held_out=[session for session in sessions if session.subject in dataset.held_out],
        profile=fitted(profile, dataset, min(int(session.frames.min()) for session in sessions)),
        smoothing=dataset.smoothing,
        files={session.name: path for session, path in zip(sessions, dataset.paths(), strict=True)},
    )


def prepared(file: Path, dataset: Dataset, min_frames: int, seed: int, runs: Path) -> Session:
    """One session of a description, prepared, its trials on the disk.

    Raises:
        CalmError: see `calm.data.descriptions.read_checked` and `calm.data.session.prepare`.
    """
    identity = f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns} {min_frames}"
    # What changes nothing about a session must not make it be read again.
    described = dataset.model_copy(update={"name": "", "files": (), "held_out": (), "context": 0, "horizon": None})
    folder = runs / "sessions" / stage_key(file.stem, [described], [identity], seed, VERSION)
    if not is_stored(folder):
        session = read_checked(file, dataset, min_frames=min_frames)
        store_session(folder, prepare(session, seed=seed, smoothing=dataset.smoothing, min_frames=min_frames))
    return load_session(folder)


def fitted(profile: Profile, dataset: Dataset, shortest: int) -> Profile:
    """The profile with the dataset's context and horizon, to the end of the shortest trial unless it says another.

    Networks that forecast a block of frames at once forecast the horizon.
    """
    horizon = dataset.horizon or shortest - dataset.context
    forecast = profile.forecast.model_copy(update={"context": dataset.context, "horizon": horizon})
    blocks = {name: getattr(profile, name) for name in ("patchtst", "itransformer", "poco")}
    blocks = {name: config.model_copy(update={"horizon": horizon}) for name, config in blocks.items()}
    return profile.model_copy(update={"forecast": forecast, **blocks})
