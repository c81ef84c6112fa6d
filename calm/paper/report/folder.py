"""What a folder of results holds, read once for the whole report."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from calm.errors import CalmError
from calm.paper.provenance import read_provenance
from calm.paper.report.numbers import compare, read_published, summarise_results
from calm.paper.report.verdicts import judge_all
from calm.paper.results import read_item, read_results
from calm.profile import profile_names

KINDS = (".csv", ".pdf")  # of the files that a section points to; the png stands in it


@dataclasses.dataclass(frozen=True)
class Results:
    """What a folder of figures holds.

    Attributes:
        folder: with a png, pdf and csv per item.
        profile: that they were made with.
        comparison: ours and the published values, see `calm.paper.report.numbers.compare`.
        tests: of the claims, see `calm.paper.report.verdicts.judge_all`.
        provenance: by item.
    """

    folder: Path
    profile: str
    comparison: pd.DataFrame
    tests: pd.DataFrame
    provenance: Mapping[str, Mapping[str, Any]]

    def rows(self, item: str) -> pd.DataFrame:
        """Paper and ours of one item."""
        return self.comparison[self.comparison["item"] == item]

    def datasets(self, name: str) -> list[str]:
        """What the numbers of a result are of."""
        path = self.folder / f"{name}.csv"
        return list(read_item(path)["dataset"].unique()) if path.exists() else []

    def names(self) -> list[str]:
        """Of all items with a figure or a table, details such as `fig3b_trials` included."""
        found = {path.stem for kind in ("*.png", "*.csv") for path in self.folder.glob(kind)}
        return sorted(name for name in found - {"report"} if not name.startswith("claims"))

    def is_shown(self, name: str) -> bool:
        """Whether a result has something to show: a figure, or numbers in the columns of every results table."""
        return (self.folder / f"{name}.png").exists() or not self.rows(name).empty

    def files(self, name: str) -> list[str]:
        """Links to the files of a result."""
        return [f"[{name}{kind}]({name}{kind})" for kind in KINDS if (self.folder / f"{name}{kind}").exists()]


def profile_of(folder: Path) -> str:
    """The profile that a folder `figures/<profile>` or `figures/<profile>/<dataset>` belongs to.

    Raises:
        CalmError: it is no such folder.
    """
    for name in (folder.resolve().name, folder.resolve().parent.name):
        if name in profile_names():
            return name
    raise CalmError(f"{folder} is no folder of results: give figures/<profile> or figures/<profile>/<dataset>.")


def read_folder(folder: Path) -> Results:
    """Everything that the report says, from the results tables in a folder."""
    profile = profile_of(folder)
    comparison = compare(summarise_results(read_results(folder)), read_published())
    return Results(folder, profile, comparison, judge_all(folder), read_provenance(folder / "provenance.json"))
