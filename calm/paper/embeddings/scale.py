"""How much it takes until embeddings of neurons hold their tuning: the transformer with less data and training."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from calm.baselines.patches import ContinuousPatches
from calm.data.session import Session, drop_neurons
from calm.errors import CalmError
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer
from calm.paper.embeddings.read_out import shuffled_read_outs
from calm.paper.embeddings.study import ALL, READ_OUT_CORR, neuron_embeddings
from calm.paper.embeddings.tuning import find_contrasts, tuning_table
from calm.paper.results import Results
from calm.profile import Profile
from calm.recordings import Recordings
from calm.training.decoding import with_share
from calm.training.stages import Trained, train
from calm.training.tasks import TransformerTask

ITEM = "fig5_scale"
FORECAST, CHANCE = "validation corr of forecasts", f"{READ_OUT_CORR}, shuffled (97.5 %)"
FEWEST = 2  # neurons of a session
SCALES = ("trials", "neurons", "steps")


def scale_down(
    part: str, sessions: Sequence[Session], profile: Profile, share: float, seed: int
) -> tuple[list[Session], Profile]:
    """A share of one of SCALES, all else the same: the sessions and the numbers to train the transformer with.

    Fewer training trials are seen more often, in as many steps. Neurons are drawn at random, at least FEWEST of a
    session; a step has as many trials of them. With fewer steps, the learning rate still falls to nothing at the end.
    """
    fit = profile.dat_fit
    if part == "trials":
        return [with_share(session, share, seed=seed) for session in sessions], profile
    if part == "steps":
        return list(sessions), profile.changed(dat_fit=fit.shortened(share))
    fewer = []
    for session in sessions:
        order = np.random.default_rng(seed).permutation(len(session.neurons))
        fewer.append(drop_neurons(session, order[max(FEWEST, round(share * len(order))) :]))
    return fewer, profile.changed(dat_fit=fit.changed(rows=max(1, round(fit.rows * share))))


def train_scales(
    results: Results,
    quantizer: Trained[NeuralQuantizer],
    recordings: Recordings,
    profile: Profile,
    shares: Sequence[float],
    *,
    runs: Path,
    draws: int = 99,
) -> None:
    """Train the transformer on the held-in sessions with less of one thing at a time, all on the same tokens.

    Adds for each `part` (trials, neurons or steps), `share` of it and variable: the correlation of what a ridge
    regression reads out of the embeddings of left-out neurons, and what shuffled neurons reach, where there are enough
    neurons; and the validation score of the forecasts.

    Args:
        results: to add to; its seed is that of trainings, of what is left out, and of shuffles.
        quantizer: trained on these sessions.
        recordings: of which the held-in sessions are used.
        profile: with the learning rate to use.
        shares: above 0, at most 1; the transformer with all of everything is trained besides.
        runs: where trainings are kept.
        draws: shuffles of the neurons' tuning.

    Raises:
        CalmError: a share out of range.
    """
    seed, scales = results.seed, list(itertools.product(SCALES, sorted({*shares, 1.0})))
    for part, share in tqdm(scales, desc="Scales", unit="training"):
        sessions, scaled = scale_down(part, recordings.held_in, profile, share, seed)
        task = TransformerTask(quantizer, sessions, scaled.dat, scaled.forecast)
        trained = train(task, scaled.dat_fit, seed=seed, runs=runs)
        count = sum(len(session.neurons) for session in sessions)
        where = {**ALL, "item": ITEM, "n": count, "part": part, "share": share}
        results.add(FORECAST, trained.score, **where)
        try:
            read_outs = scale_read_outs(trained.model, sessions, recordings, draws=draws, seed=seed)
        except CalmError as reason:  # the forecasts of a scale with few neurons still count
            tqdm.write(f"{share:g} of the {part}: {reason}")
            continue
        for (metric, variant), value in read_outs.items():
            results.add(metric, value, variant=variant, **where)


def scale_read_outs(
    model: DualAxisTransformer | ContinuousPatches,
    sessions: Sequence[Session],
    recordings: Recordings,
    *,
    draws: int,
    seed: int,
) -> dict[tuple[str, str], float]:
    """By metric and variable: read-out of d' and, of synthetic neurons, of the truth; and the top of chance.

    Raises:
        CalmError: see `calm.paper.embeddings.gradients.NeuronFeatures.prepare`.
    """
    contrasts = find_contrasts(sessions)
    names, neurons = (
        [contrast.name for contrast in contrasts],
        tuning_table(sessions, contrasts, truth=recordings.truth_files),
    )
    read_outs, _ = shuffled_read_outs(neuron_embeddings(model, sessions), neurons, names, draws=draws, seed=seed)
    numbers = {READ_OUT_CORR: read_outs.iloc[0], CHANCE: read_outs.iloc[1:].quantile(0.975)}
    return pd.concat(numbers).to_dict()
