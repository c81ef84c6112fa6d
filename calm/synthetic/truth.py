"""The truth behind a synthetic session, kept beside its file.

`<file>.truth.safetensors` is all of `Truth`: what sets the rates, and the spikes; the rates and the noise-free traces
follow from them and are not stored. `<file>.tuning.csv` is for looking at: a row a neuron with its place in the file
(`plane`, `roi`), where it lies, and the columns of `calm.synthetic.population.draw_neurons`.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from calm.config import CohortConfig
from calm.errors import CalmError
from calm.synthetic.cohort import SessionPlan, generator
from calm.synthetic.maze import CYCLE, PLANES, Behaviour, run_session
from calm.synthetic.network import convolve, expected_spikes
from calm.synthetic.population import Population, draw_population, drive, network_config

ARRAYS = ("recurrence", "loadings", "latents", "design", "noise")
COLUMN = "neurons."  # in front of the names of their columns


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """A synthetic session's hidden truth.

    Attributes:
        name: the session's `session_id`.
        config: the numbers behind it.
        population: neurons, latents and what drives them.
        spikes: their number in every volume.
        bounds: for each trial, each plane's first row and the number of rows, that of the plane with the fewest.
    """

    name: str
    config: CohortConfig
    population: Population
    spikes: UInt8[np.ndarray, "neuron volume"]
    bounds: Int[np.ndarray, "trial 5"]

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
    behaviour = run_session(config, plan.frames, generator(config.seed, plan.name, "behaviour"))
    population = draw_population(plan, behaviour, config)
    shape = (plan.neurons, behaviour.frames // CYCLE)
    truth = Truth(plan.name, config, population, np.zeros(shape, np.uint8), trial_bounds(behaviour))
    for plane in range(PLANES):
        rng = generator(config.seed, plan.name, "spikes", plane)
        truth.spikes[population.plane(plane)] = rng.poisson(truth.rates(plane))
    return behaviour, truth


def trial_bounds(behaviour: Behaviour) -> Int[np.ndarray, "trial 5"]:
    """Each plane's first row in each trial, and how many rows all planes have in it."""
    edges = behaviour.trials[["start", "stop"]].to_numpy()[:, :, None]
    rows = -((np.arange(PLANES) - edges) // CYCLE)  # rounded up
    return np.column_stack([rows[:, 0], np.min(rows[:, 1] - rows[:, 0], axis=1)])


def write_truth(truth: Truth, file: Path, places: pd.DataFrame) -> None:
    """Write both files that go with the NWB file `file`; `places` are further columns of the tuning table."""
    neurons = truth.population.neurons
    arrays = {name: np.ascontiguousarray(getattr(truth.population, name)) for name in ARRAYS}
    arrays |= {COLUMN + name: values.to_numpy() for name, values in neurons.items()}
    arrays |= {"spikes": truth.spikes, "bounds": truth.bounds}
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
    return Truth(about["name"], config, population, arrays["spikes"], arrays["bounds"])
