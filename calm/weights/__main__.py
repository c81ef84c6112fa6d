"""Make the weights that ship again, or others: `python -m calm.weights recipe=small seed=0 folder=my-weights`.

Any of the recipe's numbers can be changed after its name: `recipe="small quantizer_fit.steps=500"`. An interrupted run
goes on where it was.
"""

import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from calm.baselines.linear import linear_scores
from calm.config.rivals import VARConfig
from calm.data.session import Session
from calm.errors import RESUMES, command
from calm.models.finetuning import TraceTransformer
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer
from calm.paths import RUNS, ensure_writable
from calm.profile import Recipe, load_recipe
from calm.run import parse_settings
from calm.synthetic.corpus import draw_corpus
from calm.training.reconstruction import reconstruction_correlations
from calm.training.stages import Model, train, untrained
from calm.training.tasks import FineTuningTask, QuantizerTask, TransformerTask
from calm.weights.pretrained import Pretrained

DEFAULTS = {"recipe": "small", "seed": 0, "folder": "pretrained"}
HELD_OUT_SEED = 1_000_000  # added to the seed for the recordings that the weights are tested on


class StrangersTask(TransformerTask):
    """A transformer learns to forecast neurons that it knows nothing of: all have the embedding of new ones.

    With embeddings of their own it learned the neurons of the corpus by heart, which no user has: between 3000 and 7000
    steps, forecasts of their validation trials got worse (0.090 and 0.079), of other recordings better (0.070, 0.077).
    """

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "strangers"

    def new_model(self) -> DualAxisTransformer:
        """An untrained transformer."""
        return only_trunk(super().new_model())


class StrangersFineTuningTask(FineTuningTask):
    """It goes on learning, from what its forecasts look like as traces; not in the paper."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "strangers-finetuned"

    def new_model(self) -> TraceTransformer:
        """The transformer that was trained on tokens."""
        return only_trunk(super().new_model())


def only_trunk(model: Model) -> Model:
    """The model, of which nothing will be trained that belongs to sessions and their neurons."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(model.session_parameters))
    return model


def pretrain(recipe: Recipe, *, seed: int, runs: Path) -> Pretrained:
    """Train both stages on recordings of their corpus, and test them on others."""
    sessions = draw_corpus(recipe.corpus, seed=seed)
    quantizer = train(QuantizerTask(sessions, recipe.quantizer), recipe.quantizer_fit, seed=seed, runs=runs)
    inputs = quantizer, draw_corpus(recipe.populations, seed=seed), recipe.dat, recipe.forecast
    transformer = train(StrangersTask(*inputs), recipe.dat_fit, seed=seed, runs=runs)
    task = StrangersFineTuningTask(*inputs, transformer=transformer)
    transformer = train(task, recipe.finetune_fit, seed=seed, runs=runs)
    others, populations = (
        draw_corpus(corpus.changed(recordings=recipe.held_out), seed=seed + HELD_OUT_SEED)
        for corpus in (recipe.corpus, recipe.populations)
    )
    unseen = TransformerTask(quantizer, populations, recipe.dat, recipe.forecast)
    unadapted = untrained(unseen, seed=seed, pretrained=transformer)
    linear = pd.DataFrame([linear_scores(session, VARConfig(), recipe.forecast) for session in populations])
    scores = {
        **kept(quantizer.model, others),
        "forecast": unseen.validation_score(unadapted.model, recipe.dat_fit),
        **linear.mean().to_dict(),
    }
    return Pretrained(recipe.model_dump(mode="json"), quantizer, transformer, scores)


def kept(model: NeuralQuantizer, sessions: list[Session]) -> dict[str, float]:
    """Mean correlation of trace and reconstruction over sessions: raw ones, and those that were smoothed."""
    scores: dict[str, list[float]] = {}
    for session in sessions:
        name = "smoothed" if session.preparation.smoothing < 1 else "raw"
        trials = np.arange(len(session.traces))
        scores.setdefault(name, []).append(float(reconstruction_correlations(model, session, trials).mean()))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def main(words: list[str]) -> None:
    """Command line; a user's mistake ends with one sentence and exit status 1."""
    with command(interrupted=RESUMES):
        settings = parse_settings(words, DEFAULTS)
        recipe, folder = load_recipe(settings["recipe"]), Path(settings["folder"])
        ensure_writable(folder.parent)
        weights = pretrain(recipe, seed=settings["seed"], runs=RUNS)
        weights.save(folder)
        print(f"{folder}: held-out correlation {', '.join(f'{name} {r:.3f}' for name, r in weights.scores.items())}")


if __name__ == "__main__":
    main(sys.argv[1:])
