"""A model to play with: what is chosen is what is drawn."""

import dataclasses

import numpy as np
import pytest
import torch
from linear_systems import noise_free_session

import calm
from calm.errors import CalmError
from calm.model import CalM
from calm.models.transformer import TokenBatch
from calm.paper.plots.explore import attention_of
from calm.profile import load_profile


def rotations(neurons):
    session = noise_free_session(neurons=neurons, trials=30, frames=20, seed=neurons)
    return dataclasses.replace(session, name=f"of {neurons}")


@pytest.fixture(scope="module")
def sessions():
    return [rotations(neurons) for neurons in (4, 6)]


@pytest.fixture(scope="module")
def model(sessions, tmp_path_factory):
    profile = load_profile("smoke forecast.context=8")
    return CalM.pretrain(sessions, profile, runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def explorer(model, sessions, drawing):
    return calm.explore(model, sessions)


def drawn(explorer, label="true"):
    (line,) = [line for line in explorer.figure.axes[0].lines if line.get_label() == label]
    return line.get_ydata()


def test_it_begins_with_the_liveliest_neuron_of_the_first_test_trial(explorer, sessions):
    trial = sessions[0].trials_of("test")[0]
    liveliest = sessions[0].traces[trial].var(axis=1).argmax()
    chosen = {name: choice.value for name, choice in explorer.choices.items()}
    assert chosen == {"session": "of 4", "trial": trial, "neuron": liveliest, "rollouts": 100}


def test_trial_and_neuron_that_are_chosen_are_drawn(explorer, model, sessions):
    explorer.choices["trial"].value, explorer.choices["neuron"].value = 7, 2
    session = sessions[0]
    scale = session.neurons["sd"][2], session.neurons["mean"][2]
    np.testing.assert_allclose(drawn(explorer), session.traces[7][2] * scale[0] + scale[1], rtol=1e-4, atol=1e-5)
    (kept,) = model.reconstruct(session, np.array([7]), unit="original")
    np.testing.assert_allclose(drawn(explorer, "reconstruction"), kept[2])
    (futures,) = model.sample(session, np.array([7]), unit="original")
    np.testing.assert_allclose(drawn(explorer, "CalM"), futures[:, 2].mean(axis=0))


def test_tokens_are_written_into_their_strip(explorer, model, sessions):
    explorer.choices["trial"].value, explorer.choices["neuron"].value = 5, 1
    trace = torch.from_numpy(sessions[0].traces[5][1:2]).to(model.quantizer.model.codebook.vectors.device)
    codes = model.quantizer.model.encode_codes(trace)[0].tolist()
    assert [int(text.get_text()) for text in explorer.figure.axes[1].texts] == codes


def test_the_nearest_neurons_are_shown_after_the_neuron_itself(explorer, model, sessions):
    explorer.choices["session"].value, explorer.choices["neuron"].value = "of 6", 4
    embeddings = model.embeddings(sessions[1])
    nearest = np.argsort(((embeddings - embeddings[4]) ** 2).sum(axis=1))[:5]
    (panel,) = [axes for axes in explorer.figure.axes if axes.get_title(loc="left") == "D"]
    assert nearest[0] == 4 and [text.get_text() for text in panel.get_yticklabels()] == [str(each) for each in nearest]


@pytest.mark.parametrize("name", ["session", "trial", "neuron", "rollouts"])
def test_every_choice_can_be_made_to_its_ends_and_is_drawn_once(explorer, name, monkeypatch):
    before, choice, count = explorer.figure, explorer.choices[name], []
    draw = calm.paper.plots.explore.draw_neuron
    monkeypatch.setattr("calm.paper.plots.explore.draw_neuron", lambda *a, **k: count.append(1) or draw(*a, **k))
    values, changes = choice.options if hasattr(choice, "options") else (choice.min, choice.max), 0
    for value in (*values, values[0]):
        changes += value != choice.value
        choice.value = value
    assert explorer.figure is not before and len(count) == changes > 0


def test_a_session_with_fewer_neurons_is_begun_anew(explorer, sessions):
    explorer.choices["session"].value = "of 6"
    explorer.choices["neuron"].value = 5
    explorer.choices["session"].value = "of 4"
    assert explorer.choices["neuron"].max == 3 and len(drawn(explorer)) == 20
    assert f"of 4, trial {sessions[0].trials_of('test')[0]}" in explorer.figure.axes[0].get_title()


def test_what_is_shown_is_changed_in_place_and_kept_as_a_picture(explorer, monkeypatch):
    shown, updated = [], []

    class Handle:
        update = updated.append

    def display(*objects, display_id=None):
        shown.extend(objects)
        return Handle() if display_id else None

    monkeypatch.setattr("calm.paper.plots.explore.display", display)
    explorer._ipython_display_()
    assert shown[1] is explorer.figure and list(shown[0].children) == list(explorer.choices.values())
    explorer.choices["trial"].value = 3
    assert updated == [explorer.figure]


def test_attention_is_that_of_the_model(dat):
    """Neurons that all look alike get even shares; and only what a neuron attends to changes it."""
    tokens = torch.randint(6, (5, 9)).numpy()
    with torch.no_grad():
        before = dat.features(TokenBatch("uneven", torch.arange(5), torch.from_numpy(tokens)[None]))
        seen = attention_of(dat, "uneven", tokens, 2)
        after = dat.features(TokenBatch("uneven", torch.arange(5), torch.from_numpy(tokens)[None]))
        assert torch.equal(before, after) and not any(layer.neuron._forward_pre_hooks for layer in dat.layers)
        assert seen.shape == (5,) and seen.sum() == pytest.approx(5) and np.ptp(seen) > 0.01
        for layer in dat.layers:
            layer.neuron.key.weight.zero_()
    np.testing.assert_allclose(attention_of(dat, "uneven", tokens, 2), np.ones(5), rtol=1e-5)


def test_sessions_that_are_missing_or_unknown_are_refused(model, sessions):
    with pytest.raises(CalmError, match="no sessions to explore"):
        calm.explore(model, [])
    with pytest.raises(CalmError, match="of 5"):
        calm.explore(model, [rotations(5)])
