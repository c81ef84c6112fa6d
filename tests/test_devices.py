"""Two processes on one CPU (Fabric, gloo): they end with the same weights, codebook included."""

import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = """
import sys
from pathlib import Path

import torch

from calm.config import FitConfig, QuantizerConfig, SimulationConfig
from calm.batches import trace_batches
from calm.quantizer import NeuralQuantizer
from calm.reconstruction import reconstruction_correlations
from calm.session import prepare
from calm.simulation import simulate
from calm.training import Run, Task

torch.set_num_threads(1)
session = prepare(simulate(SimulationConfig(trials=20, neurons=4, frames=32), seed=0).session, seed=0)
config = FitConfig(epochs=4, rows=8, devices=2, learning_rate=1e-2)
sizes = dict(width=8, codes=8, encoder_layers=1, decoder_layers=1, predictor_layers=1, heads=2, revive_every=1)
torch.manual_seed(0)
task = Task(
    batches=lambda epoch: trace_batches([session], config, 4, seed=epoch),
    validate=lambda model: float(reconstruction_correlations(model, session, session.trials_of("val")).mean()),
)
run = Run(NeuralQuantizer(QuantizerConfig(**sizes)), config, 0, Path(sys.argv[1]))
run.train(task)
weights = torch.cat([parameter.detach().flatten() for parameter in run.model.module.parameters()])
torch.save(weights, Path(sys.argv[1]) / f"rank{run.fabric.global_rank}.pt")
"""


def test_two_processes_end_with_the_same_weights_and_one_checkpoint(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    folder = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(first, second)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["model"]
