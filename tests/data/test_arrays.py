"""Plain arrays, NPZ and CSV files: the same session whichever way it comes, or one sentence that says what is wrong."""

import warnings

import numpy as np
import pandas as pd
import pytest
from source_files import RATE, random_fluorescence, suite2p_plane

import calm
from calm.errors import CalmError

WINDOWS = {"length": 10, "gap": 0}


def joined(session):
    """All frames of a session, (neurons, frames)."""
    return np.concatenate(session.traces, axis=1)


@pytest.fixture
def traces():
    return random_fluorescence(4, 100)


# --- In memory


def test_a_recording_is_cut_into_windows_or_trials(traces):
    speed = np.arange(100.0)
    windows = calm.from_arrays(traces, rate=RATE, windows=WINDOWS, behaviour={"speed": speed})
    np.testing.assert_array_equal(joined(windows), traces)
    np.testing.assert_array_equal(np.concatenate(windows.behaviour)[:, 0], speed)
    assert (windows.behaviour_names, windows.rate) == (("speed",), RATE)
    table = pd.DataFrame({"start_time": [1.0, 3.0], "stop_time": [2.0, 3.5], "go": [True, False]})
    trials = calm.from_arrays(traces, rate=RATE, trials=table)
    assert trials.frames.tolist() == [10, 5] and trials.trials["go"].tolist() == [True, False]
    np.testing.assert_array_equal(joined(trials), traces[:, [*range(10, 20), *range(30, 35)]])


def test_single_trials_may_differ_in_length(traces):
    parts = np.split(traces, [20, 50, 60], axis=1)
    lick = [np.full(part.shape[1], index) for index, part in enumerate(parts)]
    session = calm.from_arrays(
        parts, rate=RATE, behaviour={"lick": lick}, trials=pd.DataFrame({"go": [1, 0, 1, 0]}), name="a", subject="b"
    )
    assert session.frames.tolist() == [20, 30, 10, 40] and (session.name, session.subject) == ("a", "b")
    for part, trace in zip(parts, session.traces, strict=True):
        np.testing.assert_array_equal(trace, part)
    assert session.trials["start_time"].tolist() == [0.0, 2.0, 5.0, 6.0] and session.trials["go"].tolist() == [
        1,
        0,
        1,
        0,
    ]
    assert [set(channels[:, 0]) for channels in session.behaviour] == [{0.0}, {1.0}, {2.0}, {3.0}]


def bad(traces, frame=7):
    """The traces with a NaN."""
    traces = traces.copy()
    traces[2, frame] = np.nan
    return traces


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda traces: {"traces": traces, "windows": 200}, "no window of 200 frames fits"),
        (lambda traces: {"traces": traces, "trials": pd.DataFrame()}, "leave one of them out"),
        (lambda traces: {"traces": bad(traces)}, r"NaN or infinite values in 1 neuron \(2\)"),
        (lambda traces: {"traces": traces, "behaviour": ()}, None),
        (lambda traces: {"traces": traces, "behaviour": np.ones((100, 1))}, "must have names"),
        (lambda traces: {"traces": traces, "behaviour": {"lick": np.ones(99)}}, "lick has 99 frames"),
        (lambda traces: {"traces": traces.T, "behaviour": {"lick": np.ones(100)}}, "are transposed"),
        (lambda traces: {"traces": [traces[:, :20].T, traces[:, 20:].T]}, "they are transposed"),
        (lambda traces: {"traces": [traces[:2, :50], traces]}, "not of one session"),
        (lambda traces: {"traces": traces[0]}, r"the traces must be \(neurons, frames\)"),
        (lambda traces: {"traces": [["a", "b"]]}, "no numbers"),
        (lambda traces: {"traces": [[1.0, 2.0], [3.0]]}, "no numbers"),
        (lambda traces: {"traces": traces, "rate": 0.0}, "`rate` of 0.0"),
        (lambda traces: {"traces": [traces, traces], "trials": pd.DataFrame({"go": [1]})}, "`trials` has 1 rows"),
        (lambda traces: {"traces": [traces, traces], "behaviour": {"lick": [np.ones(100)]}}, "lick must have a value"),
        (lambda traces: {"traces": traces, "windows": {"lenght": 10}}, "no 'lenght': it has length"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*other way round")
def test_arrays_that_do_not_go_together(traces, change, words):
    arguments = {"rate": RATE, "windows": WINDOWS} | change(traces)
    if words is None:
        assert calm.from_arrays(**arguments).behaviour_names == ()
        return
    with pytest.raises(CalmError, match=words) as error:
        calm.from_arrays(**arguments)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_more_neurons_than_frames_are_told():
    with pytest.warns(UserWarning, match="if it is the other way round, transpose"):
        calm.from_arrays(random_fluorescence(200, 100), rate=RATE, windows=WINDOWS)


# --- Files


def test_an_npz_file_and_csv_files_hold_the_same_recording(tmp_path, traces):
    speed, time = np.arange(100.0), 5 + np.arange(100) / RATE
    np.savez(tmp_path / "a.npz", traces=traces, speed=speed, time=time)
    table = pd.DataFrame(traces.T, columns=["n0", "n1", "n2", "n3"]).assign(speed=speed, time=time)
    table.to_csv(tmp_path / "header.csv", index=False)
    table.to_csv(tmp_path / "index.csv")
    np.savetxt(tmp_path / "plain.csv", traces, delimiter=",")
    pd.DataFrame(traces.T).to_csv(tmp_path / "numbered.csv", index=False)
    table.to_csv(tmp_path / "tabs.tsv", index=False, sep="\t")
    for name, layout, told in (
        ("a.npz", "npz", {"behaviour": "speed"}),
        ("header.csv", "csv", {"behaviour": "speed"}),
        ("index.csv", "csv", {"behaviour": "speed"}),
        ("tabs.tsv", "csv", {"behaviour": "speed"}),
        ("plain.csv", "csv", {"rate": RATE}),
        ("numbered.csv", "csv", {"rate": RATE}),
    ):
        (session,) = calm.load_sessions({"files": str(tmp_path / name), "layout": layout, "windows": WINDOWS, **told})
        np.testing.assert_allclose(joined(session), traces, rtol=1e-5)
        assert session.rate == pytest.approx(RATE) and session.name == name.split(".")[0]
        if "behaviour" in told:
            np.testing.assert_array_equal(np.concatenate(session.behaviour)[:, 0], speed)
            assert session.trials["start_time"].iloc[0] == 5.0


@pytest.mark.parametrize(
    ("content", "told", "words"),
    [
        ("1,2\n3,4\n", {}, "add `rate`"),
        ("a,b\n1,x\n2,3\n", {"rate": 1.0}, "'b' holds text"),
        ("1;2\n3;4\n", {"rate": 1.0}, "holds text: leave it out, or put commas"),
        ("a,b\n1,2\n3,4\n", {"rate": 1.0, "behaviour": "lick"}, "no column 'lick': it has a, b"),
        ("1,2\n3,4\n", {"rate": 1.0, "behaviour": "lick"}, "has no header"),
        (",a,b\n0.5,1,2\n0.7,3,4\n", {"rate": 1.0}, "first column has no name: call it `time`"),
        ("", {"rate": 1.0}, "no table of numbers"),
    ],
)
def test_csv_files_that_cannot_be_read(tmp_path, content, told, words):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(CalmError, match=words):
        calm.load_sessions({"files": str(tmp_path / "a.csv"), "layout": "csv", "windows": {"length": 1}, **told})


def test_npz_files_that_cannot_be_read(tmp_path):
    np.savez(tmp_path / "other.npz", dff=np.ones((3, 4)))
    np.savez(tmp_path / "pickle.npz", traces=np.array([print, None], dtype=object))
    (tmp_path / "text.npz").write_text("no")
    for name, words in (
        ("other", "no array 'traces': it has dff"),
        ("pickle", "damaged or no"),
        ("text", "damaged or no"),
    ):
        with pytest.raises(CalmError, match=words):
            calm.load_sessions(
                {"files": str(tmp_path / f"{name}.npz"), "layout": "npz", "rate": RATE, "windows": WINDOWS}
            )


def test_trials_come_from_a_csv_file_beside_the_recording(tmp_path, traces):
    suite2p_plane(tmp_path / "sub-a" / "suite2p" / "plane0", traces, neuropil=np.zeros_like(traces), cells=[1, 1, 0, 1])
    folder = tmp_path / "sub-a" / "suite2p"
    (folder / "trials.csv").write_text("start_time,stop_time,go\n0,1,1\n2,3.5,0\n")
    told = {"layout": "suite2p", "rate": RATE, "trials": "trials.csv"}
    (session,) = calm.load_sessions({"files": str(folder), "conditions": "go", "dff": False, **told})
    assert session.frames.tolist() == [10, 15] and session.trials["go"].tolist() == [1, 0]
    np.testing.assert_array_equal(session.traces[1], traces[[0, 1, 3], 20:35])  # the cells
    (everything,) = calm.load_sessions({"files": str(folder), "dff": False, "keep": {}, **told})
    assert len(everything.neurons) == 4
    (relative,) = calm.load_sessions({"files": str(folder), "dff": {"percentile": 50}, **told})
    assert np.abs(np.median(joined(relative), axis=1)).max() < 0.02
    with pytest.raises(CalmError, match="no column 'stim': it has start_time, stop_time, go"):
        calm.load_sessions({"files": str(folder), "conditions": "stim", **told})
    with pytest.raises(CalmError, match="no table of trials"):
        calm.load_sessions({"files": str(folder), **told | {"trials": "none.csv"}})
    with pytest.raises(CalmError, match="has no events"):
        calm.load_sessions({"files": str(folder), **told | {"trials": {"events": "lick"}}})


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"layout": "suite2p", "windows": WINDOWS}, "needs `rate`"),
        ({"layout": "csv", "rate": 1.0, "windows": WINDOWS, "trials": "t.csv"}, "into `trials` or into `windows`"),
        ({"files": ["a.csv", "b.npz"], "rate": 1.0}, "look like csv and npz, but a dataset has one `layout`"),
        ({"layout": "suite2p", "windows": WINDOWS, "rate": RATE, "behaviour": "lick"}, "`behaviour` has no meaning"),
        ({"layout": "csv", "windows": WINDOWS, "neuropil": 0.5}, "`neuropil` has no meaning"),
    ],
)
def test_descriptions_that_lack_something_or_say_too_much(told, words):
    with pytest.raises(CalmError, match=words):
        calm.load_sessions({"files": "a", **told})


def test_names_of_files_tell_the_layout_and_windows_are_the_default(tmp_path):
    traces = random_fluorescence(3, 900)
    np.savetxt(tmp_path / "a.csv", traces, delimiter=",")
    np.savez(tmp_path / "a.npz", traces=traces)
    suite2p_plane(tmp_path / "suite2p" / "plane0", traces, neuropil=np.zeros_like(traces), cells=[1, 1, 1])
    for name in ("a.csv", "a.npz", "suite2p", "*/plane0"):
        (session,) = calm.load_sessions({"files": str(tmp_path / name), "rate": RATE, "dff": False})
        assert set(session.frames) == {80}
        (longer,) = calm.load_sessions({"files": str(tmp_path / name), "rate": RATE, "dff": False, "windows": 100})
        assert set(longer.frames) == {100}
    with pytest.raises(CalmError, match=r"^a.csv: .*: add `rate`"):
        calm.load_sessions(str(tmp_path / "a.csv"))


def test_a_session_is_read_without_a_warning(tmp_path, traces):
    suite2p_plane(tmp_path / "plane0", traces, neuropil=np.zeros_like(traces), cells=[1, 1, 1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calm.load_sessions({"files": str(tmp_path), "layout": "suite2p", "rate": RATE, "windows": WINDOWS})
