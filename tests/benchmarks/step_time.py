"""Does a training step take longer the more neurons the corpus has? `python tests/benchmarks/step_time.py`

The same batch, of one session, in a corpus of 1,000 neurons and in one of 273,770 (the paper's); medians of many steps,
taken in turns so that whatever else the machine does falls on both alike.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from calm.config import DATConfig, FitConfig
from calm.models.transformer import DualAxisTransformer, TokenBatch
from calm.training.fit import Run

CODES, TOKENS, NEURONS = 128, 23, 500
CORPORA = {"1,000 neurons, 2 sessions": 2 * [NEURONS], "273,770 neurons, 286 sessions": [NEURONS, *284 * [957], 1482]}


def make_run(sizes: list[int], config: DATConfig, folder: Path) -> Run:
    """A run whose model knows sessions of these sizes."""
    torch.manual_seed(0)
    sessions = {f"session {number}": neurons for number, neurons in enumerate(sizes)}
    model = DualAxisTransformer(config, torch.randn(CODES, 16), sessions)
    return Run(model, FitConfig(steps=1, weight_ema=0.99), seed=0, folder=folder)


def time_step(run: Run, batch: TokenBatch) -> float:
    """Seconds of one whole step: loss, gradients, update, averages."""
    if run.fabric.device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    run.step(run.model.training_loss(batch)["loss"])
    if run.fabric.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    """Print the median step time in both corpora and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    config = DATConfig(width=given.width, layers=given.layers, heads=4, ffn=4 * given.width)
    tokens = torch.randint(CODES, (given.trials, NEURONS, TOKENS))
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: make_run(sizes, config, Path(folder)) for name, sizes in CORPORA.items()}
        batch = TokenBatch("session 0", torch.arange(NEURONS), tokens)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for step in range(given.steps + 3):
            for name, run in runs.items():
                seconds = time_step(run, run.fabric.to_device(batch))
                if step >= 3:  # the first ones allocate
                    times[name].append(seconds)
    medians = {name: 1000 * statistics.median(values) for name, values in times.items()}
    for name, milliseconds in medians.items():
        print(f"{name:32s} {milliseconds:8.1f} ms a step")
    small, large = medians.values()
    print(f"ratio {large / small:.3f}")


if __name__ == "__main__":
    main()
