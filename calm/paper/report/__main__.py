"""Write the report of a folder and print its main numbers: `python -m calm.paper.report figures/<profile>[/<dataset>]`."""

import sys
from pathlib import Path

from calm.errors import CalmError
from calm.paper.report.page import write_report
from calm.paper.report.terminal import print_summary


def main(arguments: list[str]) -> None:
    """Command line; a user's mistake ends with one sentence and exit status 1."""
    try:
        if len(arguments) != 1:
            raise CalmError("Call it as: python -m calm.paper.report figures/<profile>[/<dataset>]")
        folder = Path(arguments[0])
        if not any(folder.glob("*.csv")):
            raise CalmError(f"There are no results in {folder}: run snakemake, or a notebook, first.")
        print_summary(write_report(folder))
    except CalmError as error:
        sys.exit(f"calm: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
