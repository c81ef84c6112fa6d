"""Small trainings of six sessions in four groups, in this process or in several.

Runs in double precision, with everything that is random or has a memory: dropout, corruption, clipping, averaged
weights, the start of the codebook and its revivals.
"""

import contextlib
import os

import torch

from calm.config.fitting import FitConfig
from calm.config.models import DATConfig, QuantizerConfig
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer, TokenBatch
from calm.seeding import seeded
from calm.training import fit as training
from calm.training.fit import Objective
from calm.training.parallel import group_sessions, groups_here

NEURONS = {"a": 7, "b": 2, "c": 5, "d": 3, "e": 4, "f": 6}
NAMES = list(NEURONS)
GROUPS = group_sessions(list(NEURONS.values()), 4)
FIT = FitConfig(
    steps=8, validate_every=2, session_groups=4, precision="64-true", learning_rate=0.02, clip=0.3, weight_ema=0.5
)


def new_transformer():
    config = DATConfig(width=8, layers=1, heads=2, ffn=16, dropout=0.1)
    with seeded(0):
        return DualAxisTransformer(config, torch.randn(6, 4), NEURONS).double()


def new_quantizer():
    sizes = dict(width=8, codes=8, encoder_layers=1, decoder_layers=1, predictor_layers=1, heads=2, queue=50)
    with seeded(0):
        return NeuralQuantizer(QuantizerConfig(**sizes, warmup=0.25, revive_every=0.25, revive_below=0.9)).double()


def tokens_of(session, step):
    """A batch whose size depends on the session and the step."""
    random = torch.Generator().manual_seed(100 * step + session)
    neurons = NEURONS[NAMES[session]]
    tokens = torch.randint(6, (1 + (step + session) % 3, neurons, 4 + session), generator=random)
    return TokenBatch(NAMES[session], torch.arange(neurons), tokens)


def traces_of(session, step):
    random = torch.Generator().manual_seed(100 * step + session)
    return torch.randn(NEURONS[NAMES[session]], 8 + 4 * session, generator=random, dtype=torch.float64)


def token_score(model, session):
    batch = tokens_of(session, step=1000)
    return -model.next_token_loss(batch, batch.tokens).item()


def trace_score(model, session):
    traces = traces_of(session, step=1000)
    return -(model(traces).reconstruction - traces).square().mean().item()


CASES = {
    "transformer": (new_transformer, tokens_of, token_score),
    "quantizer": (new_quantizer, traces_of, trace_score),
}


def group_objective(number, batch_of, score_of, stop):
    """What a group of sessions is trained on, which take turns; the run is interrupted at a step."""
    sessions = GROUPS[number]

    def batch(step):
        if step == stop:
            raise KeyboardInterrupt
        return batch_of(sessions[step % len(sessions)], step)

    def validate(model):
        return sum(score_of(model, session) for session in sessions) / len(sessions)

    return Objective(batch, validate, number, sessions, len(sessions) / len(NEURONS))


def train(kind, folder, stop=None):
    """Train, or go on from where a run was stopped; returns the model."""
    new_model, batch_of, score_of = CASES[kind]
    objectives = [group_objective(number, batch_of, score_of, stop) for number in groups_here(len(GROUPS))]
    model = new_model()
    with contextlib.suppress(KeyboardInterrupt):
        training.fit(model, objectives, FIT, seed=0, folder=folder / kind)
    return model


def one_of_several(rank, count, port, root):
    """What each of some processes does: a run to the end, one that is stopped, and what one process began."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}  # as torchrun says it
    os.environ.update({name: str(value) for name, value in {**place, **where}.items()}, CUDA_VISIBLE_DEVICES="")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # Fabric turns losses into the default type
    for kind in CASES:
        train(kind, root / f"{count}")
        train(kind, root / f"{count}-then-1", stop=5)
        train(kind, root / f"1-then-{count}")
