"""Two processes on one CPU (Fabric, gloo): one process's gradients, and the same weights, codebook included."""

import subprocess
import sys
from pathlib import Path

import torch

TRAIN = """
import sys
from pathlib import Path

import torch

from calm.config import FitConfig, QuantizerConfig, SimulationConfig
from calm.training.batches import trace_batches
from calm.models.quantizer import NeuralQuantizer
from calm.training.reconstruction import reconstruction_correlations
from calm.data.session import prepare
from calm.synthetic.simulation import simulate
from calm.training.fit import Objective, Run

torch.set_num_threads(1)
session = prepare(simulate(SimulationConfig(trials=20, neurons=4, frames=32), seed=0).session, seed=0)
config = FitConfig(steps=8, validate_every=2, rows=8, devices=2, learning_rate=1e-2)
sizes = dict(width=8, codes=8, encoder_layers=1, decoder_layers=1, predictor_layers=1, heads=2, warmup=0.2)
sizes["revive_every"] = 0.3
torch.manual_seed(0)
task = Objective(
    batch=trace_batches([session], config, 4, seed=0),
    validate=lambda model: float(reconstruction_correlations(model, session, session.trials_of("val")).mean()),
)
run = Run(NeuralQuantizer(QuantizerConfig(**sizes)), config, 0, Path(sys.argv[1]))
run.train(task)
weights = torch.cat([parameter.detach().flatten() for parameter in run.model.module.parameters()])
torch.save(weights, Path(sys.argv[1]) / f"rank{run.fabric.global_rank}.pt")
"""


GRADIENTS = """
import sys
from pathlib import Path

import torch

from calm.config import DATConfig, FitConfig
from calm.models.transformer import DualAxisTransformer, TokenBatch
from calm.training.fit import Objective, Run

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)  # Fabric turns losses into the default type
sizes = dict(width=8, layers=2, heads=2, ffn=16, dropout=0.0, scheduled_sampling=0.0, replacement=0.0)
torch.manual_seed(0)
model = DualAxisTransformer(DATConfig(**sizes), torch.randn(6, 4), {"large": 7, "small": 2})
batches = [
    TokenBatch(name, torch.arange(neurons), torch.randint(6, (trials, neurons, tokens)))
    for name, neurons, trials, tokens in (("large", 7, 3, 9), ("small", 2, 2, 5))
]
losses = [model.training_loss(batch)["loss"] for batch in batches]
counts = [model.count_predictions(batch) for batch in batches]
(sum(count * loss for count, loss in zip(counts, losses)) / sum(counts)).backward()
expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
model.zero_grad()

run = Run(model, FitConfig(steps=1, devices=2, precision="64-true"), 0, Path(sys.argv[1]))
run.step = run.fabric.backward
run.train_steps(Objective(batches.__getitem__, None), 1, bar=type("Bar", (), {"update": staticmethod(lambda: None)}))
found = {name: parameter.grad for name, parameter in run.model.module.named_parameters()}
torch.save((expected, found), Path(sys.argv[1]) / f"rank{run.fabric.global_rank}.pt")
"""


def run_script(text, folder):
    """Run a script, which launches its second process itself, in a folder that is given to it."""
    folder.mkdir()
    script = folder.with_suffix(".py")
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_processes_end_with_the_same_weights_and_one_checkpoint(tmp_path):
    first, second = run_script(TRAIN, tmp_path / "run")
    assert torch.equal(first, second)
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_dir()) == ["model"]


def test_two_processes_with_unequal_batches_have_the_gradients_of_one(tmp_path):
    for expected, found in run_script(GRADIENTS, tmp_path / "run"):
        assert expected.keys() == found.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-10, rtol=0, msg=name)
