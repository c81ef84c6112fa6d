"""Fine-tuning on traces: the model that it starts from, and what a step sees."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from calm.config.fitting import FitConfig
from calm.data.session import Session
from calm.models.finetuning import TraceTransformer
from calm.models.quantizer import NeuralQuantizer
from calm.models.rollout import TraceBatch
from calm.models.transformer import DualAxisTransformer
from calm.training.batches import Batches, Stretches, training_trials


def on_traces(
    trained: DualAxisTransformer, quantizer: NeuralQuantizer, sessions: Mapping[str, int], horizon: int
) -> TraceTransformer:
    """A copy of a transformer that learns from traces and knows, of its sessions, the ones named here only."""
    model = TraceTransformer(trained.config, copy.deepcopy(quantizer).requires_grad_(False), sessions, horizon)
    known = trained.state_dict()
    state = {name: value for name, value in known.items() if not name.startswith(model.session_parameters)}
    model.load_state_dict(state | trained.state_of(model.index))
    return model


def trial_batches(sessions: Sequence[Session], config: FitConfig, *, seed: int) -> Batches:
    """Training batches, each a TraceBatch of trials from their start."""

    def load(stretches: Stretches) -> TraceBatch:
        traces = sessions[stretches.session].traces
        chosen = np.stack([traces[trial][stretches.neurons, part] for trial, part in stretches])
        return TraceBatch(sessions[stretches.session].name, *map(torch.from_numpy, (stretches.neurons, chosen)))

    return Batches([training_trials(session, None) for session in sessions], config, load, seed=seed)
