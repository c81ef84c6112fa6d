"""The sizes of a benchmark and how long it may take: default, on a GPU, and quick for tests."""

import os
from typing import Literal

import torch

from calm.config.base import Config
from calm.errors import CalmError

FRAMES, CONTEXT, WINDOW = 100, 40, 4  # of a trial, of a forecast's context, of a token: as in the paper's simulation
TOKENS = FRAMES // WINDOW
SMALL_CORPUS = (500, 500)  # neurons of its sessions
PAPER_CORPUS = (500, *284 * [957], 1482)  # 286 sessions of 273,770 neurons together


class Settings(Config):
    """What is measured, and for how long."""

    device: Literal["cpu", "cuda"] = "cpu"
    seconds: float = 8.0  # over which a case is repeated; one that takes longer is made once
    repeats: int = 20  # at most
    limit: int = 240  # s after which a case on a CPU is given up
    small: str = "laptop"  # profile of small models
    large: str = "paper"  # profile of the paper's models
    rivals: str = "laptop"  # profile of the rivals, and of CalM beside them
    product: int = 2048  # rows and columns of the matrices whose product gives the machine's rate
    small_neurons: int = 45  # neurons of a session of profile laptop, on average
    large_neurons: tuple[int, ...] = (200, 957)  # of a simulated network; of a session of the paper's recordings
    trials: int = 1  # of a step of the paper's models
    memory_neurons: tuple[int, ...] = (957, 3000)
    memory_tokens: int = 5  # of a trial, so that a CPU has the memory and the time
    corpora: tuple[tuple[int, ...], ...] = (SMALL_CORPUS, PAPER_CORPUS)
    scaled_neurons: tuple[int, ...] = (50, 100, 200, 400, 800)
    scaled_tokens: tuple[int, ...] = (8, 16, 32, 64, 128)

    @property
    def precision(self) -> str:
        """Of a training step, as Fabric names it."""
        return "bf16-mixed" if self.device == "cuda" else "32-true"

    @property
    def product_type(self) -> torch.dtype:
        """What matrices are multiplied in."""
        return torch.bfloat16 if self.device == "cuda" else torch.float32


GPU = {"rivals": "gpu", "product": 8192, "trials": 8, "memory_tokens": TOKENS}
QUICK = {
    **{"seconds": 1.0, "repeats": 2, "small": "smoke", "large": "smoke", "rivals": "smoke", "product": 64},
    **{"small_neurons": 5, "large_neurons": (6, 7), "trials": 1, "memory_neurons": (6, 8), "memory_tokens": 5},
    **{"corpora": ((5, 5), (5, 5, 5)), "scaled_neurons": (4, 8, 16), "scaled_tokens": (4, 8, 16)},
}


def choose_settings(device: str, *, quick: bool = False) -> Settings:
    """The sizes for a device, where nothing else is seen from now on.

    Raises:
        CalmError: there is no such device.
    """
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before anything asks for a GPU
    elif not torch.cuda.is_available():
        raise CalmError("There is no CUDA GPU here: leave `--device cuda` out.")
    return Settings(device=device).changed(**(GPU if device == "cuda" else {}), **(QUICK if quick else {}))
