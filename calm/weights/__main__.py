"""Make the weights that ship again, or others: `python -m calm.weights recipe=small seed=0 folder=my-weights`.

Any of the recipe's numbers can be changed after its name: `recipe="small quantizer_fit.steps=500"`. An interrupted run
goes on where it was.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from calm.baselines.linear import linear_scores
from calm.config.rivals import VARConfig
from calm.data.session import Session
from calm.errors import RESUMES, command
from calm.models.quantizer import NeuralQuantizer
from calm.paths import RUNS, ensure_writable
from calm.profile import Recipe, load_recipe
from calm.run import parse_settings
from calm.synthetic.corpus import draw_corpus
from calm.training.reconstruction import reconstruction_correlations
from calm.training.stages import train, untrained
from calm.training.tasks import QuantizerTask, TransformerTask
from calm.weights.pretrained import Pretrained

DEFAULTS = {"recipe": "small", "seed": 0, "folder": "pretrained"}
HELD_OUT_SEED = 1_000_000  # added to the seed for the recordings that the weights are tested on


def pretrain(recipe: Recipe, *, seed: int, runs: Path) -> Pretrained:
    """Train both stages on recordings of their corpus, and test them on others."""
    sessions = draw_corpus(recipe.corpus, seed=seed)
    quantizer = train(QuantizerTask(sessions, recipe.quantizer), recipe.quantizer_fit, seed=seed, runs=runs)
    task = TransformerTask(quantizer, draw_corpus(recipe.populations, seed=seed), recipe.dat, recipe.forecast)
    transformer = train(task, recipe.dat_fit, seed=seed, runs=runs)
    others, populations = (
        draw_corpus(corpus.changed(recordings=recipe.held_out), seed=seed + HELD_OUT_SEED)
        for corpus in (recipe.corpus, recipe.populations)
    )
    unseen = dataclasses.replace(task, sessions=populations)
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
