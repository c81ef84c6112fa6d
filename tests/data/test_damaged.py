"""Damaged NWB files: whatever is wrong with one, reading it ends in a session or in one sentence, soon."""

import os
import time
import warnings

import h5py
import numpy as np
import pytest
from nwb_files import plain_file

from calm.data.contents import inspect
from calm.data.reading import load_sessions
from calm.errors import CalmError

MUTATIONS = int(os.environ.get("CALM_MUTATIONS", "30"))  # of each kind; the nightly run takes more
SERIES, ROIS = (
    "processing/ophys/DfOverF/RoiResponseSeries",
    "processing/ophys/ImageSegmentation/DfOverF_RoiResponseSeries_rois",
)
LONGEST = 10  # s of computing that a file may take


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a good file."""
    return plain_file(tmp_path_factory.mktemp("whole") / "a.nwb").read_bytes()


@pytest.fixture
def path(tmp_path, whole):
    """A good file, to be damaged."""
    (tmp_path / "a.nwb").write_bytes(whole)
    return tmp_path / "a.nwb"


def read(path):
    """The session of a file."""
    (session,) = load_sessions({"files": str(path), "behaviour": "lick", "conditions": "go"})
    return session


def replace(file, name, data):
    """Put other data in the place of a dataset; its attributes stay."""
    attributes = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, data=data).attrs.update(attributes)


def loop(file):
    """Two soft links to each other."""
    del file[SERIES]
    file[SERIES] = h5py.SoftLink(f"/{SERIES}2")
    file[f"{SERIES}2"] = h5py.SoftLink(f"/{SERIES}")


RECIPES = {
    "no ROI table": lambda file: file.pop(ROIS),
    "no segmentation": lambda file: file.pop("processing/ophys/ImageSegmentation"),
    "no region": lambda file: file.pop(f"{SERIES}/rois"),
    "no attribute `table`": lambda file: file[f"{SERIES}/rois"].attrs.pop("table"),
    "a ROI that is not there": lambda file: file[f"{SERIES}/rois"].__setitem__(0, 99),
    "soft links in a circle": loop,
    "a link to itself": lambda file: (file.pop(SERIES), file.__setitem__(SERIES, h5py.SoftLink(f"/{SERIES}"))),
    "a group in a circle": lambda file: (file.pop(SERIES), file.__setitem__(SERIES, file["processing"])),
    "no traces": lambda file: file.pop(f"{SERIES}/data"),
    "traces of text": lambda file: replace(file, f"{SERIES}/data", np.full((100, 3), b"x")),
    "a clock of text": lambda file: replace(file, f"{SERIES}/starting_time", b"soon"),
    "trials without stops": lambda file: file.pop("intervals/trials/stop_time"),
    "trials of text": lambda file: replace(file, "intervals/trials/start_time", np.full(10, b"x")),
    "columns of two lengths": lambda file: replace(file, "intervals/trials/start_time", np.arange(4.0)),
    "another kind of object": lambda file: file[SERIES].attrs.modify("neurodata_type", "Subject"),
    "specifications that are no JSON": lambda file: [
        replace(file, f"specifications/core/{version}/namespace", b"{") for version in file["specifications/core"]
    ],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_damaged_file_is_one_sentence_with_its_name(path, recipe):
    with h5py.File(path, "a") as file:
        RECIPES[recipe](file)
    for action in (read, inspect):
        began = time.process_time()
        try:
            action(path)
        except CalmError as error:
            text = str(error)
            assert "a.nwb" in text and "\n" not in text and text.endswith(".") and len(text) < 600, text
        else:
            assert action is inspect, "the damage goes unnoticed"
        assert time.process_time() - began < LONGEST


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["pixel_mask", "pixel_mask_index"])
def test_masks_that_are_missing_do_no_harm_or_are_told(path, name):
    with h5py.File(path, "a") as file:
        del file[f"{ROIS}/{name}"]
    try:
        assert read(path).frames.tolist() == [10] * 10
    except CalmError as error:
        assert "a.nwb" in str(error)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("values", [np.array([b"V1"] * 3), np.array([1.5, 2.5, 3.5])])
def test_columns_of_other_types_are_read(path, values):
    with h5py.File(path, "a") as file:
        replace(file, f"{ROIS}/area", values)
    assert len(read(path).neurons) == 3


def test_a_mended_file_is_read_at_once(path, whole):
    with h5py.File(path, "a") as file:
        RECIPES["specifications that are no JSON"](file)
    with pytest.raises(CalmError):
        read(path)
    path.write_bytes(whole)
    assert read(path).frames.tolist() == [10] * 10


def other_bytes(path, rng):
    """One to 32 bytes changed at random."""
    content = bytearray(path.read_bytes())
    for place in rng.integers(len(content), size=rng.choice([1, 4, 32])):
        content[place] = rng.integers(256)
    path.write_bytes(content[: rng.integers(len(content))] if rng.random() < 0.1 else content)


def other_objects(path, rng):
    """One to three objects or attributes deleted, or replaced by what does not belong there."""
    odd = [b"text", -1, np.nan, np.zeros(0), np.zeros((2, 3, 4)), np.full(3, b"x"), 2**62, np.full(100, np.inf)]
    for _ in range(rng.integers(1, 4)):
        with h5py.File(path, "a") as file:
            names: list[str] = []
            file.visit(names.append)
            name, value = (
                rng.choice([each for each in names if "specifications" not in each]),
                odd[rng.integers(len(odd))],
            )
            attributes = file[name].attrs
            match rng.integers(5):
                case 0:
                    del file[name]
                case 1 if len(attributes):
                    del attributes[rng.choice(list(attributes))]
                case 2 if len(attributes):
                    attributes[rng.choice(list(attributes))] = value
                case 3:
                    del file[name]
                    file[name] = h5py.SoftLink(f"/{rng.choice(names)}")
                case _ if isinstance(file[name], h5py.Dataset):
                    replace(file, name, value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mutate", [other_bytes, other_objects])
def test_any_mutation_ends_in_a_session_or_one_sentence(path, whole, mutate):
    refused = 0
    for seed in range(MUTATIONS):
        path.write_bytes(whole)
        mutate(path, np.random.default_rng(seed))
        began = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert read(path).frames.sum() > 0
            except CalmError as error:
                refused += 1
                assert "\n" not in str(error) and len(str(error)) < 1100, f"seed {seed}"
            except Exception as error:
                pytest.fail(f"{mutate.__name__} with seed {seed}: {type(error).__name__}: {error}")
        assert time.process_time() - began < LONGEST, f"seed {seed}"
    assert 0 < refused < MUTATIONS
