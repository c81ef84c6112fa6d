"""Tiny inputs and models that several test files share."""

import os

import hypothesis
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from backbones import tokenize
from fit_cases import EVERY, STEPS, toy_case

from calm.config.fitting import FitConfig
from calm.config.models import DATConfig, QuantizerConfig
from calm.config.synthetic import SimulationConfig
from calm.data.preparation import prepare
from calm.data.session import Session
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer, TokenBatch
from calm.paper.plots import use_style
from calm.synthetic.simulation import simulate
from calm.training.batches import trace_batches
from calm.training.fit import Objective
from calm.training.tokens import token_batches

os.environ.setdefault("OMP_NUM_THREADS", "1")  # inherited by the workers: threads side by side that wait crawl
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
hypothesis.settings.register_profile("calm", deadline=None)  # a busy machine is no mistake
hypothesis.settings.load_profile("calm")

SESSIONS = {"uneven": 5, "other": 3}  # neurons of each session that the small transformer knows


def make_session(lengths, *, neurons=5, seed=0, name="uneven"):
    """A raw recording with trials of the given lengths and two behavioural channels."""
    rng = np.random.default_rng(seed)
    return Session(
        name=name,
        subject="someone",
        rate=5.0,
        traces=tuple(rng.normal(1, 2, (neurons, length)) for length in lengths),
        behaviour=tuple(rng.normal(3, 4, (length, 2)) for length in lengths),
        behaviour_names=("pitch", "yaw"),
        trials=pd.DataFrame({"trial": range(len(lengths))}),
        neurons=pd.DataFrame({"neuron": range(neurons)}),
    )


@pytest.fixture(autouse=True)
def seeded():
    """The same random numbers for every test, in whichever order they run."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", name="make_session")
def session_maker():
    """The function above, for tests that need a particular recording."""
    return make_session


@pytest.fixture(scope="session")
def uneven():
    """A prepared session whose trials have 18, 24 or 31 frames: 4, 6 or 7 whole windows."""
    return prepare(make_session([18, 24, 31] * 5), seed=0, smoothing=0.5)


@pytest.fixture(scope="session")
def simulation():
    """A small network with its hidden truth."""
    return simulate(SimulationConfig(trials=20, neurons=10, frames=40), seed=0)


@pytest.fixture
def quantizer_config():
    """The smallest quantizer that still has every part."""
    return QuantizerConfig(
        width=8,
        codes=6,
        encoder_layers=2,
        decoder_layers=2,
        predictor_layers=1,
        heads=2,
        horizons=3,
        queue=64,
        revive_every=2,
    )


@pytest.fixture
def fresh_quantizer(quantizer_config):
    """A quantizer whose codebook has not started."""
    torch.manual_seed(0)
    return NeuralQuantizer(quantizer_config)


@pytest.fixture
def quantizer(fresh_quantizer):
    """A quantizer whose codes lie among the latents of noise, so that many of them are in use."""
    with torch.no_grad():
        latent = fresh_quantizer.encode(torch.randn(40, 32))
        fresh_quantizer.codebook.remember(latent, fresh_quantizer.codebook.nearest(latent))
        fresh_quantizer.codebook.update()
        fresh_quantizer.codebook.start(seed=0)
        fresh_quantizer.predictor.horizon.normal_()
    return fresh_quantizer


@pytest.fixture
def dat_config():
    """The smallest dual-axis transformer that still has every part."""
    return DATConfig(width=8, layers=2, heads=2, ffn=16, block=3, neighbours=3)


@pytest.fixture
def dat(dat_config, quantizer):
    """A transformer without dropout noise that knows two sessions; their embeddings are not zero."""
    torch.manual_seed(1)
    model = DualAxisTransformer(dat_config, quantizer.codebook.vectors.detach(), SESSIONS).eval()
    for embedding in (*model.neuron_embeddings, *model.session_embeddings):
        torch.nn.init.normal_(embedding)
    return model


@pytest.fixture
def batch(quantizer_config):
    """Two trials of nine random tokens of all neurons of one session."""
    torch.manual_seed(2)
    neurons = SESSIONS["uneven"]
    return TokenBatch("uneven", torch.arange(neurons), torch.randint(quantizer_config.codes, (2, neurons, 9)))


@pytest.fixture
def toy():
    return toy_case()


@pytest.fixture
def nq(quantizer_config, uneven):
    config = FitConfig(steps=STEPS, validate_every=EVERY, rows=20, weight_ema=0.5)
    traces = torch.from_numpy(uneven.traces[1])

    def make():
        torch.manual_seed(0)
        return NeuralQuantizer(quantizer_config)

    def score(model):
        return -model(traces).reconstruction.sub(traces).square().mean().item()

    return make, Objective(trace_batches([uneven], config, 4, seed=0), score), config


@pytest.fixture
def dat_case(dat_config, quantizer, uneven):
    config = FitConfig(steps=STEPS, validate_every=EVERY, neurons=3, weight_ema=0.5)
    tokens = tokenize(quantizer, uneven)

    def make():
        torch.manual_seed(0)
        return DualAxisTransformer(dat_config, quantizer.codebook.vectors.detach(), {"uneven": 5})

    def score(model):
        batches = [token_batches([tokens], config, seed=0)(step) for step in range(3)]
        return -sum(model.next_token_loss(batch, batch.tokens).item() for batch in batches)

    return make, Objective(token_batches([tokens], config, seed=0), score), config


@pytest.fixture(params=["toy", "nq", "dat_case"])
def case(request):
    """Maker of a model, its task and the numbers of the loop."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def drawing():
    """The style of the figures, without a screen; what was drawn is closed."""
    matplotlib.use("Agg")
    with matplotlib.rc_context():
        use_style()
        yield
    plt.close("all")
