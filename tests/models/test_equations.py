"""The table of equations in `calm.models` leads to code that is there."""

import functools
import importlib
import re

import pytest

import calm.models

ROWS = re.findall(r"^\| ([\d, -]+): .* \| (.*) \|$", calm.models.__doc__, flags=re.MULTILINE)


@pytest.mark.parametrize("name", [name for _, code in ROWS for name in re.findall(r"`([\w.]+)`", code)])
def test_an_equation_is_where_the_table_says(name):
    file, *path = name.split(".")
    assert callable(functools.reduce(getattr, path, importlib.import_module(f"calm.models.{file}")))


def test_every_equation_of_section_3_has_its_row():
    numbers = set()
    for equations, _ in ROWS:
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", equations):
            numbers |= set(range(int(first), int(last or first) + 1))
    assert numbers == set(range(2, 17))
