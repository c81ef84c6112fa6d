"""Tokens against continuous patches: costs and read-outs, and what happens where nothing can be read out."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from calm.baselines.patches import ContinuousPatches
from calm.config.models import PatchesConfig
from calm.config.synthetic import SimulationConfig
from calm.data.preparation import prepare
from calm.paper.embeddings.scale import scale_read_outs
from calm.paper.experiments.patches import PatchFeatures
from calm.paper.experiments.tokens import add_model
from calm.paper.results import Results, check
from calm.profile import load_profile
from calm.recordings import Recordings
from calm.synthetic.simulation import simulate
from calm.training.stages import Trained


def recordings_of(neurons, kinds):
    """One simulated network whose trials are of some kinds."""
    session = simulate(SimulationConfig(trials=16, neurons=neurons, frames=60), 0).session
    trials = session.trials.assign(kind=np.resize(kinds, len(session.trials)))
    session = prepare(dataclasses.replace(session, trials=trials), seed=0)
    return Recordings("simulation", [session], [], load_profile("smoke"))


def untrained_patches(sessions):
    """Small patches that know these sessions."""
    torch.manual_seed(0)
    config = PatchesConfig(width=8, layers=1, heads=2, ffn=16)
    model = ContinuousPatches(config, 40, {each.name: len(each.neurons) for each in sessions}).requires_grad_(False)
    return Trained(model, pd.DataFrame({"val": [0.1, 0.2], "seconds": [1.5, 2.0]}), "key")


def rows_of(recordings):
    """What is added about untrained patches of these sessions."""
    sessions, results = recordings.held_in, Results("simulation", seed=0)
    trained = untrained_patches(sessions)
    model = trained.model
    model.neuron_embeddings.requires_grad_(True)
    add_model(results, "continuous patches", trained, sessions, recordings, group="held-in")
    rows = results.table("tokens")
    check(rows, "tokens")
    return model, rows.set_index(["metric", "variant"])["value"]


def test_costs_are_of_what_was_trained_and_read_outs_those_of_the_embeddings():
    recordings = recordings_of(24, (0, 1))
    model, values = rows_of(recordings)
    assert values["parameters", ""] == 24 * 8 and values["training (s)", ""] == 3.5
    draws = recordings.profile.refits
    expected = scale_read_outs(model, recordings.held_in, recordings, draws=draws, seed=0)
    assert expected and {name: values[name] for name in expected} == expected


@pytest.mark.parametrize(("neurons", "kinds"), [(8, (0, 1)), (24, (0,))], ids=["few neurons", "one kind"])
def test_where_nothing_can_be_read_out_costs_remain(neurons, kinds):
    _, values = rows_of(recordings_of(neurons, kinds))
    assert set(values.index) == {("parameters", ""), ("training (s)", "")}


def test_features_of_patches_are_what_the_next_patch_is_read_from_and_know_no_later_frame():
    (session,) = recordings_of(6, (0, 1)).held_in
    trained = untrained_patches([session])
    trained.model.eval()
    features, trace = PatchFeatures(trained), session.traces[0]
    assert (features.key, features.window, features.channels) == ("key", 4, 8)
    extracted = features.features(session.name, trace)
    assert extracted.shape == (trace.shape[1] // 4, 6, 8)
    model, patches = trained.model, trained.model.cut(torch.from_numpy(trace[None]))
    change = model.out(torch.from_numpy(extracted).float()).movedim(0, 1)
    torch.testing.assert_close(patches[0, :, :, -1:] + change, model(session.name, patches)[0], rtol=0, atol=5e-3)
    later = trace.copy()
    later[:, 20:] += 1.0
    np.testing.assert_array_equal(features.extract(session.name, later)[:5], extracted[:5])
