"""Configurations: changes are checked like new values."""

import pytest

from calm.config.models import DATConfig
from calm.config.synthetic import CohortConfig, CorpusConfig
from calm.errors import CalmError
from calm.profile import load_profile


def test_a_change_is_made_in_a_copy():
    config = DATConfig()
    assert config.changed(width=8, heads=2) == DATConfig(width=8, heads=2)
    assert config == DATConfig()


def test_a_part_of_a_profile_is_changed_and_the_rest_kept():
    smoke = load_profile("smoke")
    changed = smoke.changed(dat=smoke.dat.changed(layers=1))
    assert changed.dat.layers == 1 and changed.changed(dat=smoke.dat) == smoke


def test_a_mistyped_name_is_refused_with_the_known_ones():
    with pytest.raises(CalmError, match=r"^DATConfig has no 'layer': it has width, heads, layers, "):
        DATConfig().changed(layer=3)


@pytest.mark.parametrize(("name", "value"), [("neuron_share", 1.5), ("trials", "many"), ("block", (150, 100))])
def test_a_value_that_a_new_configuration_cannot_have_is_refused(name, value):
    with pytest.raises(CalmError, match=r"^CohortConfig: "):
        CohortConfig().changed(**{name: value})


def test_no_number_of_a_profile_can_be_what_no_model_has():
    changes = ["dat.width=0", "dat.layers=-1", "dat_fit.rows=0", "dat.dropout=2", "*.heads=0", "quantizer_fit.clip=-1"]
    changes += ["forecast.context=0", "simulation.dt=0", "cohort.rise=-0.1", "cohort.block=[8,5]", "var.penalties=[-1]"]
    for change in changes:
        with pytest.raises(CalmError, match=rf"^\w+Config: {change.partition('=')[0].split('.')[1]}(\.0)? cannot be"):
            load_profile(f"smoke {change}")
    with pytest.raises(CalmError, match="`width` 30 must be a multiple of twice the `heads`, 4"):
        load_profile("smoke dat.width=30")


def test_ranges_run_from_the_least_to_the_most():
    CorpusConfig(threshold=(-2.0, -1.0), decay=(0.5, 0.5))
    for wrong in ({"decay": (3.0, 0.1)}, {"noise": (0.0, 1.0)}, {"neurons": (0, 5)}, {"threshold": (1.0, -1.0)}):
        with pytest.raises(CalmError, match=rf"CorpusConfig: {next(iter(wrong))}(\.0)? cannot be"):
            CorpusConfig().changed(**wrong)
