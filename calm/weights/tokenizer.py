"""Weights for recordings that they never saw: a tokenizer that was trained on synthetic ones, and ships with calm."""

import dataclasses
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.config.models import QuantizerConfig
from calm.data.preparation import to_unit
from calm.data.session import Session
from calm.devices import best_device
from calm.errors import CalmError
from calm.models.quantizer import NeuralQuantizer
from calm.profile import names_in
from calm.storage import WEIGHTS, is_stored, load_checkpoint, save_checkpoint
from calm.training.checks import check_preparation
from calm.training.reconstruction import reconstruct
from calm.training.stages import Trained

FORMAT = 1  # of saved tokenizers; raised with any change to what is in them
PACKAGE = "calm.weights"
UNUSED = ("codebook.queue", "codebook.queued")  # once training is over: they would be most of the file


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """A quantizer for any session, whatever its neurons, frame rate and indicator; a token is a few frames.

    Attributes:
        recipe: the numbers that it was made with, under the names that they had in that version of calm.
        quantizer: stage 1.
        scores: mean correlation of trace and reconstruction on synthetic recordings that it was not trained on.
    """

    recipe: Mapping[str, Any]
    quantizer: Trained[NeuralQuantizer]
    scores: dict[str, float]

    def tokenize(
        self, session: Session, trials: Int[np.ndarray, " trial"] | None = None
    ) -> list[Int[np.ndarray, "neuron _token"]]:
        """The codes of some trials of a prepared session, or of all.

        Raises:
            CalmError: the session is not prepared.
        """
        return self._there_and_back(session, trials)[1]

    def reconstruct(
        self, session: Session, trials: Int[np.ndarray, " trial"] | None = None, *, unit: str = "z-score"
    ) -> list[Float[np.ndarray, "neuron _frame"]]:
        """Trials of a prepared session through tokens and back, without the frames after the last whole token.

        Args:
            session: what `calm.prepare` returns.
            trials: indices; None takes all.
            unit: `z-score`, or `original`, that of the file (of smoothed traces, if they were smoothed).

        Raises:
            CalmError: the session is not prepared; another unit.
        """
        return to_unit(session.neurons, self._there_and_back(session, trials)[0], unit)

    def _there_and_back(
        self, session: Session, trials: Int[np.ndarray, " trial"] | None
    ) -> tuple[list[Float[np.ndarray, "neuron _frame"]], list[Int[np.ndarray, "neuron _token"]]]:
        check_preparation(session)
        return reconstruct(self.quantizer.model, session, np.arange(len(session.traces)) if trials is None else trials)

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors), numbers and checksums into a folder, whole or not at all.

        Raises:
            CalmError: the folder cannot be written.
        """
        weights = self.quantizer.model.state_dict()
        manifest = {
            "format": FORMAT,
            "recipe": self.recipe,
            "scores": self.scores,
            "history": self.quantizer.history.to_dict("list"),
        }
        save_checkpoint(Path(folder), {name: weights[name] for name in weights if name not in UNUSED}, manifest)


def load_pretrained(name: str | Path) -> Tokenizer:
    """The weights that ship with calm under a name (`small`), or those that `python -m calm.weights` left in a folder.

    Raises:
        CalmError: there are none of that name, they are damaged, or another version of calm saved them.
    """
    root = Path(str(resources.files(PACKAGE)))
    folder = next((each for each in (root / name, Path(name)) if is_stored(each)), None)
    if folder is None:
        shipped = [each for each in names_in(PACKAGE) if is_stored(root / each)]
        choices = ", or ".join(["a folder that `python -m calm.weights` left", *shipped])
        raise CalmError(f"There are no weights {str(name)!r}: take {choices}.")
    tensors, manifest = load_checkpoint(folder)
    if manifest.get("format") != FORMAT:
        raise CalmError(f"{folder} holds no tokenizer that this version of calm can read: make it again.")
    model = NeuralQuantizer(QuantizerConfig.model_validate(manifest["recipe"]["quantizer"]))
    initial = model.state_dict()
    model.load_state_dict(tensors | {unused: initial[unused] for unused in UNUSED})
    key = f"pretrained-{manifest['files'][WEIGHTS][:12]}"  # of the weights themselves: they differ between machines
    trained = Trained(model.to(best_device()).eval(), pd.DataFrame(manifest["history"]), key)
    return Tokenizer(manifest["recipe"], trained, manifest["scores"])
