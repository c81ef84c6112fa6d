"""The arguments of each command, as `calm forecast recording.nwb --out forecasts.nwb`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from calm.errors import RESUMES, CalmError, command
from calm.paths import ensure_writable

COMMANDS = {  # what each writes, and as which files
    "forecast": ("what neurons do after the context of trials that training did not see", (".nwb", ".csv", ".npz")),
    "tokenize": ("the tokens of all trials; trains nothing", (".csv", ".npz")),
    "decode": ("behaviour of trials that training did not see, beside what was recorded", (".csv", ".npz")),
    "info": ("what a recording holds, or what weights were made with, on the screen", ()),
}


def make_parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    parser = argparse.ArgumentParser(prog="calm", description="From a calcium recording to a file, without Python.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (what, endings) in COMMANDS.items():
        one = commands.add_parser(name, help=what, description=f"Write {what}.")
        one.add_argument("recording", help="an NWB file, Suite2p's folder, CaImAn's HDF5, CSV, NPZ; or a description")
        one.add_argument("--rate", type=float, help="frames per second, where the file does not say")
        if endings:
            one.add_argument("--out", type=Path, required=True, help=f"file to write: {', '.join(endings)}")
            one.add_argument("--seed", type=int, default=0, help="of the split into trials, and of training")
        if name in ("forecast", "decode"):
            one.add_argument("--context", type=int, help="frames of each trial that a forecast starts from")
            one.add_argument("--profile", default="quick", help="size of the models, as 'quick dat.layers=3'")
        if name == "decode":
            one.add_argument("--behaviour", nargs="+", required=True, help="names of series in the recording")
    return parser


def check_output(path: Path, endings: Sequence[str]) -> None:
    """Refuse, before any work is done, a file that could not be written in the end."""
    if path.suffix not in endings:
        raise CalmError(f"{path} has none of the endings {', '.join(endings)}: choose one.")
    if path.exists():
        raise CalmError(f"{path} exists: choose another name, or move it away.")
    ensure_writable(path.parent)


def main(words: Sequence[str] | None = None) -> None:
    """Run one command; a user's mistake ends with one sentence and exit status 1."""
    arguments = make_parser().parse_args(words)
    with command(interrupted=RESUMES):
        if "out" in arguments:
            check_output(arguments.out, COMMANDS[arguments.command][1])
        from calm.cli import actions  # torch and pynwb take seconds to load, and neither help nor mistakes need them

        getattr(actions, arguments.command)(arguments)


if __name__ == "__main__":
    main()
