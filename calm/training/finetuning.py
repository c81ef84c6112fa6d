"""Fine-tuning on traces: what it starts from, from which trials it learns, and what of it is trained."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from calm.config import FitConfig
from calm.data.session import Session
from calm.models.finetuning import TraceTransformer
from calm.models.rollout import TraceBatch
from calm.models.transformer import DualAxisTransformer
from calm.training.batches import Batches, Stretches, training_trials
from calm.training.stages import Trained
from calm.training.tasks import TransformerTask, neuron_counts


@dataclasses.dataclass(frozen=True, eq=False)
class FineTuningTask(TransformerTask):
    """A trained transformer goes on learning, from traces, and is chosen as before (see `calm.models.finetuning`).

    Under a `pretrained` model (see `calm.training.stages.train`), whose frozen trunk takes the place of its own, only
    what belongs to sessions and their neurons is trained.
    """

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "finetuned"
    transformer: Trained[DualAxisTransformer]

    @property
    def inputs(self) -> list[str]:
        """What the training depends on besides its numbers."""
        return [self.transformer.key, f"horizon={self.horizon}", *super().inputs]

    @property
    def horizon(self) -> int:
        """Frames that are forecast in training, at most."""
        return min(self.forecast.horizon or self.forecast.trained_horizon, self.forecast.trained_horizon)

    def new_model(self) -> TraceTransformer:
        """The transformer, with the embeddings of the task's sessions only."""
        trained, quantizer = self.transformer.model, copy.deepcopy(self.quantizer.model).requires_grad_(False)
        model = TraceTransformer(self.config, quantizer, neuron_counts(self.sessions), self.horizon)
        known = trained.state_dict()
        state = {name: value for name, value in known.items() if not name.startswith(model.session_parameters)}
        for kind in model.session_parameters:
            state |= {f"{kind}{place}": known[f"{kind}{trained.index[name]}"] for name, place in model.index.items()}
        model.load_state_dict(state)
        return model

    def batches(self, model: TraceTransformer, fit_config: FitConfig, *, seed: int, runs: Path) -> Batches:
        """Training trials from their start."""
        return trial_batches(self.sessions, fit_config, seed=seed)


def trial_batches(sessions: Sequence[Session], config: FitConfig, *, seed: int) -> Batches:
    """Training batches, each a TraceBatch."""

    def load(stretches: Stretches) -> TraceBatch:
        traces = sessions[stretches.session].traces
        chosen = np.stack([traces[trial][stretches.neurons, part] for trial, part in stretches])
        return TraceBatch(sessions[stretches.session].name, *map(torch.from_numpy, (stretches.neurons, chosen)))

    return Batches([training_trials(session, None) for session in sessions], config, load, seed=seed)
