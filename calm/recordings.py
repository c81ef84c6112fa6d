"""The sessions that a notebook works on, prepared: simulated ones, or those of a dataset description."""

import dataclasses

from calm.config import SIMULATION, Profile
from calm.datasets import load_dataset, read_sessions
from calm.errors import CalmError
from calm.session import Session, prepare
from calm.simulation import simulate


@dataclasses.dataclass(frozen=True, eq=False)
class Recordings:
    """Prepared sessions.

    Attributes:
        name: of the dataset.
        held_in: sessions that models are trained on.
        held_out: sessions of subjects that pretraining does not see.
        profile: the numbers to use, with the dataset's own context length.
    """

    name: str
    held_in: list[Session]
    held_out: list[Session]
    profile: Profile

    @property
    def groups(self) -> dict[str, list[Session]]:
        """Sessions by whether their subject is held out; a group without sessions is left out."""
        groups = {"held-in": self.held_in, "held-out": self.held_out}
        return {name: sessions for name, sessions in groups.items() if sessions}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Hash of every session, for the provenance."""
        return {session.name: session.fingerprint() for session in [*self.held_in, *self.held_out]}


def load_recordings(dataset: str, profile: Profile, *, seed: int) -> Recordings:
    """Simulated networks for `simulation`, else the recordings of the description at that path.

    Raises:
        CalmError: whatever is wrong with the description or the files; see `calm.datasets` and `calm.session`.
    """
    return simulated(profile, seed) if dataset == SIMULATION else described(dataset, profile, seed)


def simulated(profile: Profile, seed: int) -> Recordings:
    """One network for each seed of the profile, and networks that no model is trained on."""
    config = profile.simulation
    held_in, held_out = (
        [prepare(simulate(config, network).session, seed=seed) for network in networks]
        for networks in (config.seeds, config.held_out_seeds)
    )
    return Recordings(SIMULATION, held_in, held_out, profile)


def described(path: str, profile: Profile, seed: int) -> Recordings:
    """Read, check and prepare the recordings of a description.

    Raises:
        CalmError: a name that is taken, a context that ends within a token, or nothing to train on.
    """
    dataset, window = load_dataset(path), profile.quantizer.window
    if dataset.name == SIMULATION:
        raise CalmError(f"{path}: `name` {SIMULATION} is taken by calm's own data: choose another.")
    if dataset.context % window:
        raise CalmError(f"{dataset.name}: `context` {dataset.context} ends within a token: use a multiple of {window}.")
    smallest = dataset.context + window
    sessions = [
        prepare(session, seed=seed, smoothing=dataset.smoothing, min_frames=smallest)
        for session in read_sessions(dataset, window=window)
    ]
    held_in = [session for session in sessions if session.subject not in dataset.held_out]
    if not held_in:
        raise CalmError(f"{dataset.name}: every subject is held out: leave one to train on out of `held_out`.")
    forecast = profile.forecast.model_copy(update={"context": dataset.context})
    return Recordings(
        name=dataset.name,
        held_in=held_in,
        held_out=[session for session in sessions if session.subject in dataset.held_out],
        profile=profile.model_copy(update={"forecast": forecast}),
    )
