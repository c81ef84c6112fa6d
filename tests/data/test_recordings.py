"""The sessions of a run: simulated, synthetic or described; their context and horizon; prepared once."""

import pytest
from nwb_writer import write_session

from calm import recordings as rooms
from calm.data.descriptions import load_dataset
from calm.data.readers.nwb import read_session
from calm.errors import CalmError
from calm.profile import load_profile
from calm.recordings import load_recordings
from calm.synthetic.simulation import simulate


@pytest.fixture(scope="module")
def smoke():
    return load_profile("smoke")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def folder(smoke, tmp_path_factory):
    """The files of three sessions."""
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(3):
        session = simulate(smoke.simulation, number).session
        write_session(session, folder / f"{session.name}.nwb")
    return folder


@pytest.fixture
def description(folder):
    path = folder / "mine.yaml"
    path.write_text("files: '*.nwb'\ncontext: 24\nheld_out: [network-2]\nsmoothing: 0.5\n")
    return path


def test_a_description_gives_sessions_groups_context_and_horizon(description, smoke, runs):
    mine = load_recordings(str(description), smoke, seed=0, runs=runs)
    assert (mine.name, mine.smoothing, mine.profile.forecast.context) == ("mine", 0.5, 24)
    assert mine.profile.forecast.horizon == mine.profile.poco.horizon == 40  # the trials have 64 frames
    assert {name: len(sessions) for name, sessions in mine.groups.items()} == {"held-in": 2, "held-out": 1}
    assert set(mine.held_in[0].trials["split"]) == {"train", "val", "test"}
    assert {session.name for session in mine.held_in + mine.held_out} == set(mine.files)
    for name, file in mine.files.items():
        assert read_session(file).name == name


def test_windows_of_poyo_are_no_longer_than_half_the_shortest_trial(description, smoke, runs):
    poyo, single = smoke.poyo.changed(window=1e6), smoke.poyo_single.changed(window=0.5)
    mine = load_recordings(str(description), smoke.changed(poyo=poyo, poyo_single=single), seed=0, runs=runs)
    (rate,) = {session.rate for session in mine.held_in}
    assert mine.profile.poyo.window * rate == pytest.approx(32)  # the trials have 64 frames
    assert mine.profile.poyo_single.window == 0.5


def test_a_profile_says_context_and_horizon_unless_the_description_does(description, smoke, runs):
    asked = smoke.changed(forecast=smoke.forecast.changed(context=16, horizon=20))
    stated = load_recordings(str(description), asked, seed=0, runs=runs).profile
    assert (stated.forecast.context, stated.forecast.horizon, stated.patchtst.horizon) == (24, 20, 20)
    description.write_text("files: '*.nwb'\nhorizon: 12\n")
    unstated = load_recordings(str(description), asked, seed=0, runs=runs).profile
    assert (unstated.forecast.context, unstated.forecast.horizon, unstated.itransformer.horizon) == (16, 12, 12)


@pytest.fixture
def cohort(description, monkeypatch):
    """In place of the cohort, a folder with a description like the cohort's: without context and horizon."""
    path = description.with_name("cohort.yaml")
    path.write_text("name: cohort\nfiles: '*.nwb'\nheld_out: [network-2]\n")
    monkeypatch.setattr(rooms, "make_cohort", lambda config, root: path.parent)


@pytest.mark.parametrize(
    ("changes", "context", "horizon"),
    [({}, 40, 24), ({"context": 32}, 32, 24), ({"horizon": 8}, 40, 8), ({"context": 20, "horizon": 30}, 20, 30)],
)
def test_the_profile_says_context_and_horizon_of_the_cohort(cohort, smoke, runs, changes, context, horizon):
    changed = smoke.changed(forecast=smoke.forecast.changed(**changes))
    profile = load_recordings("cohort", changed, seed=0, runs=runs).profile
    assert (profile.forecast.context, profile.forecast.horizon) == (context, horizon)
    assert {profile.poco.horizon, profile.patchtst.horizon, profile.itransformer.horizon} == {horizon}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("context: 24", "context: 26"), "ends within a token: use a multiple of 4"),
        (("files", "name: simulation\nfiles"), "`name` simulation is taken"),
        (("[network-2]", "[network-0, network-1, network-2]"), "every subject is held out"),
    ],
)
def test_a_description_that_cannot_work_is_refused_at_once(description, smoke, runs, change, sentence):
    description.write_text(description.read_text().replace(*change))
    with pytest.raises(CalmError, match=sentence):
        load_recordings(str(description), smoke, seed=0, runs=runs)


def test_a_context_longer_than_the_trials_is_refused(description, smoke, runs):
    description.write_text(description.read_text().replace("24", "64"))
    assert load_dataset(str(description)).context == 64
    with pytest.raises(CalmError, match="64 frames, but the context and one token need 68"):
        load_recordings(str(description), smoke, seed=0, runs=runs)


def test_recordings_are_read_and_prepared_once(description, smoke, tmp_path, monkeypatch):
    first = load_recordings(str(description), smoke, seed=0, runs=tmp_path / "runs")
    monkeypatch.setattr(rooms, "read_checked", lambda *_, **__: pytest.fail("read again"))
    description.write_text(description.read_text().replace("24", "20") + "min_frames: 64\n")
    with pytest.raises(pytest.fail.Exception, match="read again"):
        load_recordings(str(description), smoke, seed=0, runs=tmp_path / "runs")
    description.write_text("files: '*.nwb'\ncontext: 24\nhorizon: 12\nsmoothing: 0.5\n")
    again = load_recordings(str(description), smoke, seed=0, runs=tmp_path / "runs")
    assert again.fingerprints == first.fingerprints and again.profile.forecast.horizon == 12
    with pytest.raises(pytest.fail.Exception, match="read again"):
        load_recordings(str(description), smoke, seed=1, runs=tmp_path / "runs")
