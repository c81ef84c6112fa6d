"""The one exception for what a user can mend, how a command ends with it, and the guard around reading users' files."""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

RESUMES = "the same command goes on from the last validation of whatever was being trained."
LONGEST = 1000  # characters of a message; one of pynwb's can have a million


def one_line(text: object, longest: int = LONGEST) -> str:
    """The text on one line, without its middle where it is longer."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else f"{line[: longest // 2]} ... {line[-(longest // 2) :]}"


class CalmError(ValueError):
    """A mistake in the input or the configuration; its message is one sentence that says what to do."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


@contextlib.contextmanager
def command(*, interrupted: str | None = None) -> Iterator[None]:
    """A command of calm, which a user's mistake ends with one sentence and exit status 1.

    So does an interruption, where `interrupted` says what becomes of the work.
    """
    try:
        yield
    except CalmError as error:
        sys.exit(f"calm: {error}")
    except KeyboardInterrupt:
        if interrupted is None:
            raise
        sys.exit(f"calm: interrupted; {interrupted}")


def first_cause(error: BaseException) -> str:
    """Kind and text of the error that others were raised from."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return one_line(f"{type(error).__name__}: {error}".removesuffix(": "), 200)


@contextlib.contextmanager
def reading(file: str | Path) -> Iterator[None]:
    """Whatever goes wrong while a user's file is read is said of that file, by its name: libraries raise anything on
    damaged ones, and what looks at arrays does not know where they come from.

    Raises:
        CalmError: it did.
    """
    try:
        yield
    except CalmError as error:
        if re.search(rf"\b{re.escape(Path(file).stem)}\b", str(error)):
            raise
        raise CalmError(f"{Path(file).name}: {error}") from error
    except Exception as error:
        raise CalmError(
            f"{file} is truncated, damaged or not of its format ({first_cause(error)}): copy or download it again, or"
            " leave it out."
        ) from error
