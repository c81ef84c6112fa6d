"""The tidy results table: every number behind a figure is one row of `figures/<profile>/<item>.csv`."""

import contextlib
import copy
import json
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, SupportsFloat, SupportsInt

import filelock
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from calm.config.synthetic import COHORT, SIMULATION
from calm.errors import CalmError
from calm.paths import FIGURES, ensure_writable, file_name
from calm.storage import sha256, written_whole

COLUMNS = ["item", "dataset", "split", "group", "session", "method", "variant", "metric", "value", "n", "seed"]
FINE_TUNED = "CalM, fine-tuned"  # a method of ours: no claim of the paper is about it
RESIDUALS = "residuals"  # ends the variant of a forecast whose distribution is what it missed on validation trials
FIGURE_KINDS = ("png", "pdf")
CHECKSUMS = "SHA256SUMS"  # of all other files that notebooks write into a folder of results
DIGITS = 6  # of a number; further ones differ between processors, and make a packed table almost twice as large
METHOD_KEYS = ("item", "dataset", "split", "group", "method", "variant", "metric")


class Results:
    """Collects the numbers behind figures and tables, each a row of the results table of its item.

    Attributes:
        dataset: simulation, cohort, dandi_000579 or the name in the dataset description.
        seed: of the run.
        started: when this was made, in s as of `time.time`.
    """

    def __init__(self, dataset: str, seed: int):
        self.dataset, self.seed, self.started = dataset, seed, time.time()
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def of_seed(self, seed: int) -> "Results":
        """To add numbers of another training to the same tables."""
        other = copy.copy(self)
        other.seed = seed
        return other

    def add(
        self, metric: str, value: SupportsFloat, *, item: str, n: SupportsInt = 1, **where: str | SupportsFloat
    ) -> None:
        """Add one number.

        Args:
            metric: `corr`, `mse`, `r2`, ...
            value: the number.
            item: the figure or table it belongs to, as `fig3b`; details have items of their own, as `fig3b_trials`.
            n: how many trials (or whatever the item counts) it is the mean of.
            where: what else tells it from the other numbers of the item: `split` (train, val, test), `group` (held-in,
                held-out), `session`, `method`, `variant`; all are empty unless they are named. Any other name becomes a
                column of its own after them, as `trial`, `neuron`, `draw` or `seconds`.
        """
        row = dict.fromkeys(COLUMNS, "") | {"item": item, "dataset": self.dataset, "seed": self.seed}
        self._rows.setdefault(item, []).append(row | where | {"metric": metric, "value": float(value), "n": int(n)})

    def add_each(
        self, metric: str | pd.Series, values: ArrayLike, *, item: str, **where: str | SupportsFloat | ArrayLike
    ) -> None:
        """Add a number for each of `values`: what has an entry for each of them (`trial=[...]`) tells them apart."""
        for row in pd.DataFrame({"metric": metric, "value": values, **where}).to_dict("records"):
            self.add(item=item, **row)

    def add_rows(self, rows: pd.DataFrame, *, item: str) -> None:
        """Add rows of a results table to an item, as those of the example that a figure shows."""
        self._rows.setdefault(item, []).extend(rows.assign(item=item).to_dict("records"))

    @property
    def items(self) -> tuple[str, ...]:
        """The items that have rows, in the order in which they got their first."""
        return tuple(self._rows)

    def table(self, item: str) -> pd.DataFrame:
        """The rows of an item; none if nothing was added to it."""
        return pd.DataFrame(self._rows.get(item, []), columns=None if self._rows.get(item) else COLUMNS)

    def save(self, folder: Path, item: str, figure: Figure | None, provenance: dict[str, Any]) -> None:
        """Write an item with its figure, if it has one, its details, and what they were made with.

        Details are the items whose names go on where that of the item ends, as `fig3b_trials` of `fig3b`.

        Raises:
            CalmError: see `check`.
        """
        for name in [item, *(each for each in self._rows if each.startswith(f"{item}_"))]:
            save_item(folder, name, self.table(name), figure if name == item else None, provenance)
            update_provenance(folder / "provenance.json", name, provenance)


def check(table: pd.DataFrame, item: str) -> None:
    """Refuse what is not the results table of one item.

    Raises:
        CalmError: columns are missing, rows of another item, or two rows for the same number.
    """
    if missing := [column for column in COLUMNS if column not in table]:
        raise CalmError(f"The results of {item} lack the columns {', '.join(missing)}.")
    if others := sorted(set(table["item"]) - {item}):
        raise CalmError(f"The results of {item} have rows of {', '.join(others)}: save each item by itself.")
    repeated = table.duplicated([column for column in table if column not in ("value", "n")])
    if repeated.any():
        raise CalmError(
            f"The results of {item} give {repeated.sum()} numbers twice, first {dict(table[repeated].iloc[0])}."
        )


def rounded(value: float) -> float:
    """A number as it is written, to `DIGITS` significant digits; whole ones, as numbers of parameters, stay exact."""
    return value if value.is_integer() else float(f"{value:.{DIGITS}g}")


def save_figure(path: Path, figure: Figure, provenance: dict[str, Any]) -> None:
    """Write `path`.png (300 dpi) and `path`.pdf, the provenance inside; the same input gives the same bytes."""
    text = json.dumps(provenance, sort_keys=True)
    pdf = {"Keywords": text, "CreationDate": None}  # PDF has no free-form keys; its date would differ in every run
    for kind, metadata in zip(FIGURE_KINDS, ({"provenance": text}, pdf), strict=True):
        with written_whole(path.with_name(f"{path.name}.{kind}")) as file:
            figure.savefig(file, format=kind, dpi=300, metadata=metadata)


def save_item(figures: Path, item: str, table: pd.DataFrame, figure: Figure | None, provenance: dict[str, Any]) -> None:
    """Write `<item>.csv`, and `<item>.png` and `<item>.pdf` where there is a figure, replacing earlier ones.

    Numbers are written with six significant digits: the report shows four, and no claim hangs on more.

    Raises:
        CalmError: see `check`.
    """
    check(table, item)
    kinds = ("csv",) if figure is None else ("csv", *FIGURE_KINDS)
    with recorded(figures, *(f"{item}.{kind}" for kind in kinds)):
        with written_whole(figures / f"{item}.csv") as file:
            table.assign(value=table["value"].map(rounded)).to_csv(file, index=False)
        if figure is not None:
            save_figure(figures / item, figure, provenance)


@contextlib.contextmanager
def recorded(folder: Path, *names: str) -> Iterator[None]:
    """Write some files of results within; then their checksums are noted beside them. Other processes wait meanwhile.

    Raises:
        CalmError: the folder cannot be written.
    """
    with filelock.FileLock(ensure_writable(folder) / f".{CHECKSUMS}.lock"):
        yield
        sums = read_checksums(folder) | {name: sha256(folder / name) for name in names}
        with written_whole(folder / CHECKSUMS) as file:
            file.write_text("".join(f"{checksum}  {name}\n" for name, checksum in sorted(sums.items())))


def read_checksums(folder: Path) -> dict[str, str]:
    """The checksums by file, as `sha256sum --check` reads them too; none where nothing was written yet."""
    path = folder / CHECKSUMS
    lines = path.read_text(errors="replace").split("\n") if path.exists() else []
    return {name: checksum for checksum, _, name in (line.partition("  ") for line in lines if line)}


def verify_results(folder: Path) -> None:
    """Refuse results that are not what was written; files from before there were checksums, or by hand, are let pass.

    Raises:
        CalmError: a file is gone or does not match its checksum.
    """
    for name, checksum in read_checksums(folder).items():
        if not (folder / name).is_file() or sha256(folder / name) != checksum:
            raise CalmError(
                f"{folder / name} is not what calm wrote (checksum differs): make it again with `snakemake --cores all"
                f" --forceall` and the --config of this folder; if you changed it, delete {folder / CHECKSUMS} instead."
            )


def read_item(path: Path) -> pd.DataFrame:
    """Read a results table back; an empty variant stays an empty string."""
    return pd.read_csv(path, keep_default_na=False, na_values={"value": ["", "nan"]})


def read_results(figures: Path) -> pd.DataFrame:
    """All results tables of a folder, one below the other.

    Files with other columns are left out: the report, and details such as `fig3b_trials`, which `read_item` reads.
    Without any, the table has no rows.
    """
    tables = [rows for rows in map(read_item, sorted(figures.glob("*.csv"))) if set(rows.columns) == set(COLUMNS)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def summarise(table: pd.DataFrame, by: Sequence[str] = METHOD_KEYS) -> pd.DataFrame:
    """Mean, standard error and n over sessions; runs of a session with several seeds are averaged first.

    Returns the columns of `by`, then `mean`, `sem` (NaN for a single session) and `n`.
    """
    keys = list(by)
    per_session = table.groupby([*keys, "session"], sort=False)["value"].mean().reset_index()
    summary = per_session.groupby(keys, sort=False)["value"].agg(mean="mean", sem="sem", n="count")
    return summary.reset_index()


def spread_of_trainings(table: pd.DataFrame, by: Sequence[str] = METHOD_KEYS) -> pd.DataFrame:
    """How far trainings from other seeds differ: each is a mean over sessions.

    Returns the columns of `by`, then `mean`, `sd` (NaN for a single training) and the number of `trainings`.
    """
    each = table.groupby([*by, "seed"], sort=False)["value"].mean().reset_index()
    spread = each.groupby(list(by), sort=False)["value"].agg(mean="mean", sd="std", trainings="count")
    return spread.reset_index()


def read_published() -> pd.DataFrame:
    """The paper's values (`calm/paper/published.csv`); an empty variant or group stays an empty string."""
    path = str(resources.files("calm.paper") / "published.csv")
    return pd.read_csv(path, keep_default_na=False, na_values={name: [""] for name in ("value", "sem_or_sd", "n")})


def read_tried() -> pd.DataFrame:
    """What was tried to choose the numbers of profile quick, failures too: a row for each training in `tried.csv`.

    `forecast` is the correlation on validation trials (of `validations`, that of the `best validation`); `place` and
    `speed` how well the embeddings of left-out neurons of the cohort tell these tunings (r). Every transformer has the
    same quantizer, of seed 0, but where the change is one of the quantizer.
    """
    return pd.read_csv(str(resources.files("calm.paper") / "tried.csv"))


def figures_folder(profile: str, dataset: str) -> Path:
    """Folder of the figures and tables: of the profile on calm's own data, or of a user's dataset within it.

    A profile with changes, as `quick dat.layers=3`, has a folder of its own, whose name begins with the profile's.
    """
    folder = FIGURES / file_name(profile)
    return ensure_writable(folder if dataset in (SIMULATION, COHORT) else folder / file_name(dataset))


def update_provenance(path: Path, item: str, entry: dict[str, Any]) -> None:
    """Set the entry of one item in a provenance file that other processes may be writing to as well."""
    with recorded(path.parent, path.name):
        entries = read_provenance(path)
        entries[item] = entry
        with written_whole(path) as file:
            file.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")


def read_provenance(path: Path) -> dict[str, dict[str, Any]]:
    """The entries by item; none where the file does not exist yet."""
    return json.loads(path.read_text()) if path.exists() else {}
