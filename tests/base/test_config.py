"""Configurations: changes are checked like new values."""

import pytest

from calm.config import CohortConfig, DATConfig
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
    with pytest.raises(CalmError, match=r"^DATConfig has no 'layer': it has width, layers, "):
        DATConfig().changed(layer=3)


@pytest.mark.parametrize(("name", "value"), [("neuron_share", 1.5), ("trials", "many"), ("block", (150, 100))])
def test_a_value_that_a_new_configuration_cannot_have_is_refused(name, value):
    with pytest.raises(CalmError, match=r"^CohortConfig: "):
        CohortConfig().changed(**{name: value})
