"""Profiles: one by its name, with changes that are checked by name and type."""

import pytest

from calm.errors import CalmError
from calm.paper.report.page import read_contents
from calm.paper.results import Results, figures_folder
from calm.profile import load_profile


def test_words_behind_the_name_change_what_they_name_and_nothing_else():
    plain = load_profile("quick")
    changed = load_profile("quick dat.layers=3 learning_rates=[0.5,2] cohort.block=[3,4]")
    assert changed == plain.changed(
        dat=plain.dat.changed(layers=3), learning_rates=(0.5, 2.0), cohort=plain.cohort.changed(block=(3, 4))
    )


def test_a_star_changes_every_setting_of_that_kind():
    settings = load_profile("gpu *_fit.steps=2 ablation.*_steps=1").model_dump()
    assert {value["steps"] for name, value in settings.items() if name.endswith("_fit")} == {2}
    assert settings["ablation"]["dat_steps"] == settings["ablation"]["quantizer_steps"] == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "dat.depth=3",
            r"'dat.depth=3' names no setting of a profile: write one of dat.width, dat.heads, .*value\.$",
        ),
        ("depth=3", r"write one of simulation, cohort, .*value\.$"),
        ("dat.layers", "names no setting"),
        ("dat=3", "names no setting"),
        ("dat.layers=many", "layers cannot be changed so"),
        ("dat.layers=2.5", "layers cannot be changed so"),
        ("cohort.accuracy=7", "accuracy cannot be changed so"),
        ("learning_rates=[", r"'learning_rates=\[' is not valid YAML"),
    ],
)
def test_a_change_that_cannot_be_made_is_one_sentence(change, sentence):
    with pytest.raises(CalmError, match=sentence):
        load_profile(f"quick {change}")


def test_trainings_have_seeds_of_their_own_from_the_first_on():
    assert list(load_profile("quick").seeds(4)) == [4]
    assert list(load_profile("quick trainings=3").seeds(4)) == [4, 5, 6]


def test_a_changed_profile_has_a_folder_of_its_own_and_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr("calm.paper.results.FIGURES", tmp_path)
    changed, other = (figures_folder(f"smoke dat.layers={layers}", "cohort") for layers in (3, 4))
    assert len({figures_folder("smoke", "cohort"), changed, other}) == 3
    assert {folder.parent for folder in (changed, other)} == {tmp_path}
    results = Results("cohort", 0)
    results.add("corr", 0.5, item="fig3d", method="CalM")
    results.save(changed, "fig3d", None, {"config": {}})
    assert read_contents(changed).profile == "smoke"
