"""Download sessions of DANDI:000579 into data/000579: `python -m calm.download --mouse 3`."""

import argparse
import shutil
import sys
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from calm.checkpoint import sha256
from calm.errors import CalmError
from calm.paths import DATA, ensure_writable

DANDISET, VERSION = "000579", "0.230728.1727"


def list_sessions(table: Path) -> pd.DataFrame:
    """The multi-plane sessions in `dandi_000579_sessions.csv`, the only ones that the paper uses.

    Raises:
        CalmError: there is no such table.
    """
    if not table.is_file():
        raise CalmError(f"There is no {table}: run this in the folder of the repository.")
    sessions = pd.read_csv(table)
    return sessions[sessions["imaging"] == "multi-plane-imaging"].reset_index(drop=True)


def choose(sessions: pd.DataFrame, mouse: int | None, count: int | None) -> pd.DataFrame:
    """The sessions of a mouse, or the smallest ones, which are quick to get, or all.

    Raises:
        CalmError: no such mouse, or not so many sessions.
    """
    if mouse is not None:
        if mouse not in set(sessions["mouse"]):
            raise CalmError(
                f"There is no mouse {mouse}: choose among {', '.join(map(str, sessions['mouse'].unique()))}."
            )
        return sessions[sessions["mouse"] == mouse]
    if count is not None:
        if not 1 <= count <= len(sessions):
            raise CalmError(f"There are no {count} sessions to choose: ask for 1 to {len(sessions)}.")
        return sessions.sort_values("size_bytes").head(count)
    return sessions


def is_complete(path: Path, size: int) -> bool:
    """Whether the file is there, with all its bytes."""
    return path.is_file() and path.stat().st_size == size


def gigabytes(size: int) -> str:
    """Text for a number of bytes."""
    return f"{size / 1e9:.2f} GB"


def fetch(asset: str, partial: Path) -> str | None:
    """Append what is missing of an asset to `partial`, through the DANDI client; nothing else here uses the network.

    Returns:
        The SHA-256 of the asset, None if the archive has none.

    Raises:
        CalmError: the client is not installed.
        OSError: the connection failed.
    """
    try:
        from dandi.dandiapi import DandiAPIClient
    except ImportError as error:
        raise CalmError('The DANDI client is not installed: pip install "calm[dandi]".') from error
    with DandiAPIClient() as client:
        remote = client.get_dandiset(DANDISET, VERSION).get_asset(asset)
        start = partial.stat().st_size if partial.exists() else 0
        with partial.open("ab") as file, tqdm(total=remote.size, initial=start, unit="B", unit_scale=True) as bar:
            for chunk in remote.get_download_file_iter()(start) if start < remote.size else ():
                bar.update(file.write(chunk))
        return remote.get_raw_metadata().get("digest", {}).get("dandi:sha2-256")


def download(asset: str, path: Path, size: int) -> None:
    """Download one file; it appears under its name only once it is complete and checked.

    Raises:
        CalmError: the connection failed, which leaves the beginning to go on from, or what came is not the file.
    """
    partial = ensure_writable(path.parent) / f".{path.name}.partial"
    try:
        digest = fetch(asset, partial)
    except OSError as error:
        raise CalmError(f"The download of {path.name} stopped ({error}): call this again to go on.") from error
    if mistake := find_mistake(partial, size, digest):
        partial.unlink()
        raise CalmError(f"{path.name} came with {mistake} and was deleted: call this again.")
    partial.replace(path)


def find_mistake(path: Path, size: int, digest: str | None) -> str | None:
    """What is wrong with a downloaded file, None if nothing is."""
    if path.stat().st_size != size:
        return f"{path.stat().st_size} bytes instead of {size}"
    return "a wrong SHA-256" if digest is not None and sha256(path) != digest else None


def check_space(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        CalmError: it cannot.
    """
    free = shutil.disk_usage(ensure_writable(folder)).free
    if free < needed:
        raise CalmError(f"{folder} has {gigabytes(free)} free, not the {gigabytes(needed)} needed: ask for less.")


def get(sessions: pd.DataFrame, folder: Path, *, dry_run: bool) -> None:
    """List the sessions, and download those that are not there.

    Raises:
        CalmError: see `check_space` and `download`.
    """
    there = [is_complete(folder / row.path, row.size_bytes) for row in sessions.itertuples()]
    for row, complete in zip(sessions.itertuples(), there, strict=True):
        print(f"{gigabytes(row.size_bytes):>9}  {row.path}{'  (is there)' * complete}")
    missing = sessions[[not complete for complete in there]]
    needed = int(missing["size_bytes"].sum())
    print(f"{len(sessions)} sessions, {gigabytes(int(sessions['size_bytes'].sum()))}; to download: {gigabytes(needed)}")
    if dry_run:
        return
    check_space(folder, needed)
    for row in missing.itertuples():
        download(row.asset_id, folder / row.path, row.size_bytes)
    print(f"Everything is there: export CALM_RECORDINGS={folder.parent}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = argparse.ArgumentParser("python -m calm.download", description=__doc__)
    which = line.add_mutually_exclusive_group(required=True)
    which.add_argument("--mouse", type=int, metavar="ID", help="all sessions of a mouse, 3 to 10")
    which.add_argument("--sessions", type=int, metavar="N", help="the N smallest sessions")
    which.add_argument("--all", action="store_true", help="all 287 multi-plane sessions, 229 GB")
    line.add_argument("--dry-run", action="store_true", help="only list them")
    return line


def main(arguments: list[str]) -> None:
    """Command line; a user's mistake ends with one sentence and exit status 1."""
    asked = parser().parse_args(arguments)
    try:
        sessions = choose(list_sessions(DATA / "dandi_000579_sessions.csv"), asked.mouse, asked.sessions)
        get(sessions, DATA / DANDISET, dry_run=asked.dry_run)
    except CalmError as error:
        sys.exit(f"calm: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
