"""YAML of users: what it says is what is read, and what it cannot mean is one short sentence, at once."""

import time

import pytest

from calm.errors import CalmError, first_cause, one_line, reading
from calm.user_yaml import LONGEST, parse_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


def test_ordinary_values_are_read():
    text = (
        "files: '*.nwb'\ncontext: 20\nrate: 1.5e3\nheld_out: ['0406']\ntrials: {events: lick, before: 0.5}\nnothing:\n"
    )
    assert parse_yaml(text, "x") == {
        "files": "*.nwb",
        "context": 20,
        "rate": "1.5e3",  # YAML 1.1 wants a sign in the exponent
        "held_out": ["0406"],
        "trials": {"events": "lick", "before": 0.5},
        "nothing": None,
    }
    assert parse_yaml(b"[1, -2, 0x10]", "x") == [1, -2, 16]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("context: 10\nfiles: a\ncontext: 20\n", r"line 3 \(it has the key `context` twice\)"),
        ("trials: {before: 1, before: 2}", "line 1 .*`before` twice"),
        (BOMB, r"an alias \(`\*name`\)"),
        ("[" * 900, "too deep|is not valid YAML"),
        ("[" * 900 + "]" * 900, "brackets are too deep"),
        ("{a: " * 20_000, "brackets are too deep"),
        ("seed: " + "9" * 5000, "a number of more than 18 digits"),
        ("day: 2021-02-31", "day is out of range"),
        ("day: 2021-13-01", "month must be in 1..12"),
        ("[", "line 1"),
        ("a: !!python/object/apply:os.system [touch x]", "could not determine a constructor"),
        ("a: \x00", "special characters are not allowed"),
        ("a" * (LONGEST + 1), "100,001 characters, more than 100,000: shorten it"),
    ],
)
def test_mistakes_and_attacks_are_one_short_sentence(text, message):
    began = time.process_time()
    with pytest.raises(CalmError, match=f"^mine.yaml.*({message}).*\\.$") as error:
        parse_yaml(text, "mine.yaml")
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)
    assert time.process_time() - began < 5


def test_a_message_is_one_line_and_keeps_its_end():
    error = CalmError("first\n" + "x" * 3_000_000 + " do this.")
    assert len(str(error)) < 1100 and str(error).startswith("first x") and str(error).endswith(" do this.")
    assert one_line(" a\n\tb ") == "a b" and one_line("abcdef", 4) == "ab ... ef"


def test_whatever_goes_wrong_in_reading_is_said_of_the_file_with_its_first_cause():
    with (
        pytest.raises(CalmError, match=r"^a.nwb is truncated, damaged .* \(KeyError: 'rois'\): copy") as caught,
        reading("a.nwb"),
    ):
        try:
            {}["rois"]
        except KeyError as error:
            raise RuntimeError("dump " * 4000) from error
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(CalmError, match=r"^a.nwb: add it$"), reading("folder/a.nwb"):
        raise CalmError("add it")
    with pytest.raises(CalmError, match=r"^a.nwb has none$"), reading("folder/a.nwb"):
        raise CalmError("a.nwb has none")
    with pytest.raises(KeyboardInterrupt), reading("a.nwb"):
        raise KeyboardInterrupt
    assert first_cause(AssertionError()) == "AssertionError"
