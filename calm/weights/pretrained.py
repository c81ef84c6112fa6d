"""Weights for recordings that they never saw: a tokenizer and a transformer, trained on synthetic ones, that ship."""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor, nn

from calm.config.models import DATConfig, QuantizerConfig
from calm.data.preparation import to_unit
from calm.data.session import Session
from calm.devices import best_device
from calm.errors import CalmError
from calm.model import CalM
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer
from calm.paths import RUNS
from calm.profile import Profile, load_profile, names_in
from calm.storage import WEIGHTS, is_stored, load_checkpoint, save_checkpoint
from calm.training.checks import check_preparation
from calm.training.reconstruction import reconstruct
from calm.training.saved import of_stage
from calm.training.stages import Trained
from calm.weights.hub import download_weights, is_repository

FORMAT = 2  # of saved weights; raised with any change to what is in them
PACKAGE = "calm.weights"
UNUSED = ("codebook.queue", "codebook.queued")  # once training is over: they would be most of the file


@dataclasses.dataclass(frozen=True, eq=False)
class Pretrained:
    """Both stages for any session, whatever its neurons, frame rate and indicator; a token is a few frames.

    Attributes:
        recipe: the numbers that they were made with, under the names that they had in that version of calm.
        quantizer: stage 1, ready as it is.
        transformer: stage 2, which knows no session until it is adapted.
        scores: on synthetic recordings that neither was trained on, see `calm.weights.__main__`.
    """

    recipe: Mapping[str, Any]
    quantizer: Trained[NeuralQuantizer]
    transformer: Trained[DualAxisTransformer]
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

    def adapt(
        self, sessions: Sequence[Session], profile: Profile | str = "quick", *, seed: int = 0, runs: Path = RUNS
    ) -> CalM:
        """A model that knows these prepared sessions: only embeddings of them and their neurons are trained (Sec. 3.2).

        Args:
            sessions: of any number of neurons each.
            profile: a name, or numbers of your own; the sizes of its models give way to those of the weights.
            seed: of everything random.
            runs: folder of all trainings; an interrupted one goes on.

        Raises:
            CalmError: as `CalM.adapt`.
        """
        profile = load_profile(profile) if isinstance(profile, str) else profile
        sizes = {"quantizer": self.quantizer.model.config, "dat": self.transformer.model.config}
        stranger = CalM(profile.changed(**sizes), self.quantizer, self.transformer, {})
        return stranger.adapt(sessions, seed=seed, runs=runs)

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors), numbers and checksums into a folder, whole or not at all.

        Raises:
            CalmError: the folder cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        manifest: dict[str, Any] = {"format": FORMAT, "recipe": self.recipe, "scores": self.scores}
        for stage, trained in (("quantizer", self.quantizer), ("transformer", self.transformer)):
            tensors |= {f"{stage}.{name}": weight for name, weight in weights_of(trained.model).items()}
            manifest[stage] = {"history": trained.history.to_dict("list")}
        save_checkpoint(Path(folder), tensors, manifest)


def weights_of(model: NeuralQuantizer | DualAxisTransformer) -> dict[str, Tensor]:
    """All that a model needs for sessions to come: nothing of those that it was trained on, nor for training."""
    left_out = (*UNUSED, *model.session_parameters)
    return {name: weight for name, weight in model.state_dict().items() if not name.startswith(left_out)}


def load_pretrained(name: str | Path) -> Pretrained:
    """The weights that ship with calm under a name (`small`), or those of a folder or of the Hugging Face Hub.

    Args:
        name: of shipped weights; or a folder that `python -m calm.weights` or `Pretrained.save` left; or the
            repository of such a folder on the Hub, as `owner/name`.

    Raises:
        CalmError: there are none of that name, they are damaged, or another version of calm saved them.
    """
    root = Path(str(resources.files(PACKAGE)))
    folder = next((each for each in (root / name, Path(name)) if is_stored(each)), None)
    if folder is None and is_repository(name):
        folder = download_weights(str(name), RUNS / "hub")
    if folder is None or not is_stored(folder):
        shipped = [each for each in names_in(PACKAGE) if is_stored(root / each)]
        choices = ", or ".join(["a folder that `python -m calm.weights` left", *shipped])
        raise CalmError(f"There are no weights {str(name)!r}: take {choices}.")
    tensors, manifest = load_checkpoint(folder)
    if manifest.get("format") != FORMAT:
        raise CalmError(f"{folder} holds no weights that this version of calm can read: make them again.")
    key = f"pretrained-{manifest['files'][WEIGHTS][:12]}"  # of the weights themselves: they differ between machines

    def filled(stage: str, model: nn.Module) -> Trained[Any]:
        unused = {name: initial for name, initial in model.state_dict().items() if name in UNUSED}
        model.load_state_dict(of_stage(tensors, stage) | unused)
        return Trained(model.to(best_device()).eval(), pd.DataFrame(manifest[stage]["history"]), key)

    config = QuantizerConfig.model_validate(manifest["recipe"]["quantizer"])
    quantizer = filled("quantizer", NeuralQuantizer(config))
    dat = DATConfig.model_validate(manifest["recipe"]["dat"])
    transformer = DualAxisTransformer(dat, quantizer.model.codebook.vectors.detach().cpu(), {})
    return Pretrained(manifest["recipe"], quantizer, filled("transformer", transformer), manifest["scores"])
