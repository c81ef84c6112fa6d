"""The truth behind a synthetic session, kept beside its file: what sets the rates, the rates, the spikes.

`<file>.truth.safetensors` is all of `Truth`; the rates and the noise-free traces follow from it and are not stored.
`<file>.tuning.csv` is for looking at: a row for each neuron with its place in the file (`plane`, `roi`), where it lies,
and the columns of `calm.synthetic.population.draw_neurons`. Time runs in volumes: a volume is an image of each plane.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from safetensors import safe_open
from safetensors.numpy import save_file

from calm.config.synthetic import CohortConfig, SimulationConfig
from calm.data.session import Session
from calm.errors import CalmError, reading
from calm.storage import is_stored, verify_file
from calm.synthetic.maze import CYCLE, PLANES, Behaviour, run_session
from calm.synthetic.mice import SessionPlan, generator
from calm.synthetic.network import convolve, expected_spikes
from calm.synthetic.population import SOURCES, VARIABLES, draw_population, network_config, tuning_matrix

COLUMN = "neurons."  # in the file, in front of the names of the columns of that table


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """A synthetic session's hidden truth.

    Attributes:
        name: the session's `session_id`.
        config: the numbers behind it.
        neurons: one row a neuron, plane by plane; see `calm.synthetic.population.draw_neurons`.
        recurrence: coupling of the recurrent network, the same in all sessions of a cohort.
        loadings: of each neuron on each unit.
        latents: state r of each unit in each volume.
        design: cue, choice, speed and bumps at each image.
        noise: the part of the speed column that is chance.
        spikes: their number in every volume.
        trial_starts: each trial's first volume in each plane.
        trial_volumes: how many volumes of each trial all planes have.
    """

    name: str
    config: CohortConfig
    neurons: pd.DataFrame
    recurrence: Float[np.ndarray, "latent latent"]
    loadings: Float[np.ndarray, "latent neuron"]
    latents: Float[np.ndarray, "volume latent"]
    design: Float[np.ndarray, "image feature"]
    noise: Float[np.ndarray, " image"]
    spikes: UInt8[np.ndarray, "neuron volume"]
    trial_starts: Int[np.ndarray, "trial 4"]
    trial_volumes: Int[np.ndarray, " trial"]

    @functools.cached_property
    def network(self) -> SimulationConfig:
        """The numbers of Eq. 1, 17 and 18."""
        return network_config(self.config)

    def of_plane(self, plane: int) -> Int[np.ndarray, " neuron_of_plane"]:
        """Indices of the neurons of a plane."""
        return np.flatnonzero(self.neurons["plane"] == plane)

    def drive(
        self,
        plane: int,
        design: Float[np.ndarray, "*draw some_volume feature"],
        latents: Float[np.ndarray, "*draw some_volume latent"],
    ) -> Float[np.ndarray, "*draw some_volume neuron_of_plane"]:
        """What the rates of a plane's neurons depend on: baseline, tuning and recurrent network."""
        neurons = self.of_plane(plane)
        table = self.neurons.iloc[neurons]
        tuned = design.astype(float) @ tuning_matrix(table)
        recurrent = np.tanh(latents.astype(float)) @ self.loadings[:, neurons].astype(float)
        return table["baseline"].to_numpy() + tuned + recurrent

    def rates(self, plane: int) -> Float[np.ndarray, "neuron_of_plane volume"]:
        """Noise-free rates of a plane's neurons: expected spikes a volume (Eq. 17)."""
        return expected_spikes(self.drive(plane, self.design[plane::CYCLE], self.latents).T, self.network)

    def traces(self, plane: int) -> Float[np.ndarray, "neuron_of_plane volume"]:
        """dF/F of a plane's neurons that their spikes cause, without imaging noise."""
        return self.fluorescence(plane, self.spikes[self.of_plane(plane)])

    def fluorescence(self, plane: int, spikes: np.ndarray) -> Float[np.ndarray, "neuron_of_plane some_volume"]:
        """dF/F that spikes, or expected spikes, of a plane's neurons cause (Eq. 18)."""
        table = self.neurons.iloc[self.of_plane(plane)]
        amplitude, rest = (table[column].to_numpy()[:, None] for column in ("amplitude", "rest"))
        return rest + amplitude * convolve(spikes.astype(float), self.network)


def simulate_session(plan: SessionPlan, config: CohortConfig) -> tuple[Behaviour, Truth]:
    """Behaviour and neurons of one session; they depend on its plan and the configuration, on no other session."""
    behaviour = run_session(config, plan.trial_frames, generator(config.seed, plan.name, "behaviour"))
    starts, stops = (first_volumes(behaviour.trials[edge].to_numpy()) for edge in ("start", "stop"))
    spikes = np.zeros((plan.neurons, behaviour.images // CYCLE), np.uint8)
    drawn = draw_population(plan, behaviour, config)
    timing = {"trial_starts": starts, "trial_volumes": np.min(stops - starts, axis=1)}
    truth = Truth(plan.name, config, spikes=spikes, **drawn, **timing)
    for plane in range(PLANES):
        rng = generator(config.seed, plan.name, "spikes", plane)
        spikes[truth.of_plane(plane)] = rng.poisson(truth.rates(plane))
    return behaviour, truth


def first_volumes(images: Int[np.ndarray, " trial"]) -> Int[np.ndarray, "trial 4"]:
    """The first volume of each plane that is not before an image."""
    return -((np.arange(PLANES) - images[:, None]) // CYCLE)  # rounded up


def write_truth(truth: Truth, file: Path, places: pd.DataFrame) -> None:
    """Write both files that go with the NWB file `file`; `places` are further columns of the tuning table."""
    fields = {field.name: getattr(truth, field.name) for field in dataclasses.fields(truth)}
    arrays = {name: np.ascontiguousarray(array) for name, array in fields.items() if isinstance(array, np.ndarray)}
    arrays |= {COLUMN + name: values.to_numpy() for name, values in truth.neurons.items()}
    about = {"name": truth.name, "config": truth.config.model_dump_json()}
    save_file(arrays, file.with_suffix(".truth.safetensors"), metadata=about)
    places.join(truth.neurons.drop(columns="plane")).to_csv(file.with_suffix(".tuning.csv"), index=False)


def read_truth(file: str | Path) -> Truth:
    """The truth that goes with a synthetic NWB file.

    Raises:
        CalmError: there is none, or it is damaged.
    """
    path = Path(file).with_suffix(".truth.safetensors")
    if not path.is_file():
        raise CalmError(f"There is no {path}: only calm's synthetic sessions come with their truth.")
    if is_stored(path.parent):
        verify_file(path)
    with reading(path), safe_open(path, framework="numpy") as stored:
        about = stored.metadata()
        arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118, it is no dict
    columns = [name for name in arrays if name.startswith(COLUMN)]
    neurons = pd.DataFrame({name.removeprefix(COLUMN): arrays.pop(name) for name in columns})
    return Truth(about["name"], CohortConfig.model_validate_json(about["config"]), neurons, **arrays)


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

    `of_plane` is what is wanted of all neurons of a plane in every volume: `truth.rates` or `truth.traces`.
    """
    table = session.neurons.iloc[neurons]
    planes = {
        plane: of_plane(plane)[:, volumes_of_frames(truth, session, plane, trials)] for plane in set(table["plane"])
    }
    return np.stack([planes[neuron.plane][neuron.id] for neuron in table.itertuples()])


def drive_sources(truth: Truth, session: Session, neuron: int, trials: Int[np.ndarray, " trial"]) -> pd.DataFrame:
    """What drives a neuron in each frame of some trials, one trial after the other: `baseline`, and each of SOURCES.

    Their sum is the drive; at 0 a neuron fires at half its maximal rate (Eq. 17).
    """
    plane, number = session.neurons.loc[neuron, ["plane", "id"]].astype(int)
    index, volumes = truth.of_plane(plane)[number], volumes_of_frames(truth, session, plane, trials)
    weights, design = truth.neurons.iloc[index], truth.design[plane::CYCLE][volumes].astype(float)
    sources = {name: design[:, column] * weights[name] for column, name in enumerate(VARIABLES)}
    sources["position"] = design[:, len(VARIABLES) + int(weights["place"])] * weights["position"]
    sources["latent"] = np.tanh(truth.latents[volumes].astype(float)) @ truth.loadings[:, index].astype(float)
    return pd.DataFrame({"baseline": weights["baseline"], **{name: sources[name] for name in SOURCES}})
