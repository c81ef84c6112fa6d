"""The truth behind a synthetic session, kept beside its file: what sets the rates, the rates, the spikes.

`<file>.truth.safetensors` is all of `Truth`; the rates and the noise-free traces follow from it and are not stored.
`<file>.tuning.csv` is for looking at: a row a neuron with its place in the file (`plane`, `roi`), where it lies, and
the columns of `calm.synthetic.population.draw_neurons`. Time runs in volumes: a volume is an image of each plane.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from calm.config import CohortConfig
from calm.data.session import Session
from calm.errors import CalmError
from calm.synthetic.maze import CYCLE, PLANES, Behaviour, run_session
from calm.synthetic.mice import SessionPlan, generator
from calm.synthetic.network import convolve, expected_spikes
from calm.synthetic.population import SOURCES, VARIABLES, Population, draw_population, drive, network_config

ARRAYS = ("recurrence", "loadings", "latents", "design", "noise")  # of a Population
COLUMN = "neurons."  # in front of the names of the columns of its table


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """A synthetic session's hidden truth.

    Attributes:
        name: the session's `session_id`.
        config: the numbers behind it.
        population: neurons, latents and what drives them.
        spikes: their number in every volume.
        trial_starts: each trial's first volume in each plane.
        trial_volumes: how many volumes of each trial all planes have.
    """

    name: str
    config: CohortConfig
    population: Population
    spikes: UInt8[np.ndarray, "neuron volume"]
    trial_starts: Int[np.ndarray, "trial 4"]
    trial_volumes: Int[np.ndarray, " trial"]

    def rates(self, plane: int) -> Float[np.ndarray, "neuron_of_plane volume"]:
        """Noise-free rates of a plane's neurons: expected spikes a volume (Eq. 17)."""
        population = self.population
        neurons = population.plane(plane)
        state = drive(population, neurons, population.design[plane::CYCLE], population.latents)
        return expected_spikes(state.T, network_config(self.config))

    def traces(self, plane: int) -> Float[np.ndarray, "neuron_of_plane volume"]:
        """dF/F of a plane's neurons that their spikes cause, without imaging noise."""
        neurons = self.population.plane(plane)
        return self.fluorescence(neurons, self.spikes[neurons])

    def fluorescence(
        self, neurons: Int[np.ndarray, " some"], spikes: np.ndarray
    ) -> Float[np.ndarray, "some some_volume"]:
        """dF/F that spikes, or expected spikes, of some neurons cause (Eq. 18)."""
        table = self.population.neurons.iloc[neurons]
        amplitude, rest = (table[column].to_numpy()[:, None] for column in ("amplitude", "rest"))
        return rest + amplitude * convolve(spikes.astype(float), network_config(self.config))


def simulate_session(plan: SessionPlan, config: CohortConfig) -> tuple[Behaviour, Truth]:
    """Behaviour and neurons of one session; they depend on its plan and the configuration, on no other session."""
    behaviour = run_session(config, plan.trial_frames, generator(config.seed, plan.name, "behaviour"))
    population = draw_population(plan, behaviour, config)
    starts, stops = (first_volumes(behaviour.trials[edge].to_numpy()) for edge in ("start", "stop"))
    spikes = np.zeros((plan.neurons, behaviour.images // CYCLE), np.uint8)
    truth = Truth(plan.name, config, population, spikes, starts, np.min(stops - starts, axis=1))
    for plane in range(PLANES):
        rng = generator(config.seed, plan.name, "spikes", plane)
        spikes[population.plane(plane)] = rng.poisson(truth.rates(plane))
    return behaviour, truth


def first_volumes(images: Int[np.ndarray, " trial"]) -> Int[np.ndarray, "trial 4"]:
    """The first volume of each plane that is not before an image."""
    return -((np.arange(PLANES) - images[:, None]) // CYCLE)  # rounded up


def write_truth(truth: Truth, file: Path, places: pd.DataFrame) -> None:
    """Write both files that go with the NWB file `file`; `places` are further columns of the tuning table."""
    neurons = truth.population.neurons
    arrays = {name: np.ascontiguousarray(getattr(truth.population, name)) for name in ARRAYS}
    arrays |= {COLUMN + name: values.to_numpy() for name, values in neurons.items()}
    arrays |= {"spikes": truth.spikes, "trial_starts": truth.trial_starts, "trial_volumes": truth.trial_volumes}
    about = {"name": truth.name, "config": truth.config.model_dump_json()}
    save_file(arrays, file.with_suffix(".truth.safetensors"), metadata=about)
    places.join(neurons.drop(columns="plane")).to_csv(file.with_suffix(".tuning.csv"), index=False)


def read_truth(file: str | Path) -> Truth:
    """The truth that goes with a synthetic NWB file.

    Raises:
        CalmError: there is none, or it is damaged.
    """
    path = Path(file).with_suffix(".truth.safetensors")
    if not path.is_file():
        raise CalmError(f"There is no {path}: only calm's synthetic sessions come with their truth.")
    try:
        with safe_open(path, framework="numpy") as stored:
            about = stored.metadata()
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118, it is no dict
    except SafetensorError as error:
        raise CalmError(f"{path} is damaged ({error}): make the cohort again.") from error
    columns = {name.removeprefix(COLUMN): array for name, array in arrays.items() if name.startswith(COLUMN)}
    population = Population(pd.DataFrame(columns), **{name: arrays[name] for name in ARRAYS})
    config = CohortConfig.model_validate_json(about["config"])
    timing = (arrays[name] for name in ("spikes", "trial_starts", "trial_volumes"))
    return Truth(about["name"], config, population, *timing)


def volumes_of_frames(
    truth: Truth, session: Session, plane: int, trials: Int[np.ndarray, " trial"]
) -> Int[np.ndarray, " frame"]:
    """The volumes of a plane that the frames of some trials of a session are, one trial after the other."""
    starts = truth.trial_starts[session.trials["trial_number"].to_numpy()[trials], plane]
    return np.concatenate(
        [start + np.arange(frames) for start, frames in zip(starts, session.frames[trials], strict=True)]
    )


def under_trials(
    truth: Truth,
    session: Session,
    neurons: Int[np.ndarray, " some"],
    trials: Int[np.ndarray, " trial"],
    of_plane: Callable[[int], Float[np.ndarray, "_neuron volume"]],
) -> Float[np.ndarray, "some frame"]:
    """What the truth says of some neurons in some trials of a session, one trial after the other.

    Args:
        truth: of the session.
        session: read from the file that the truth goes with.
        neurons: indices in the session.
        trials: indices in the session.
        of_plane: what is wanted of all neurons of a plane in every volume: `truth.rates` or `truth.traces`.
    """
    table = session.neurons.iloc[neurons]
    planes = {
        plane: of_plane(plane)[:, volumes_of_frames(truth, session, plane, trials)] for plane in set(table["plane"])
    }
    return np.stack([planes[neuron.plane][neuron.id] for neuron in table.itertuples()])


def drive_sources(truth: Truth, session: Session, neuron: int, trials: Int[np.ndarray, " trial"]) -> pd.DataFrame:
    """What drives a neuron in each frame of some trials, one trial after the other.

    Returns:
        A column for the `baseline` and for each of SOURCES; their sum is the drive, and at 0 a neuron fires at half its
        maximal rate (Eq. 17).
    """
    population, (plane, number) = truth.population, session.neurons.loc[neuron, ["plane", "id"]].astype(int)
    index, volumes = population.plane(plane)[number], volumes_of_frames(truth, session, plane, trials)
    weights, design = population.neurons.iloc[index], population.design[plane::CYCLE][volumes].astype(float)
    sources = {name: design[:, column] * weights[name] for column, name in enumerate(VARIABLES)}
    sources["position"] = design[:, len(VARIABLES) + int(weights["place"])] * weights["position"]
    sources["latent"] = np.tanh(population.latents[volumes].astype(float)) @ population.loadings[:, index].astype(float)
    return pd.DataFrame({"baseline": weights["baseline"], **{name: sources[name] for name in SOURCES}})
