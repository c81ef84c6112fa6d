"""What ran and how long: the notebooks, by Snakemake's own measurements, and the trainings, by their histories."""

from pathlib import Path

import pandas as pd

from calm.storage import is_stored, read_manifest


def notebook_times(executed: Path) -> pd.DataFrame:
    """Minutes on the clock and of the processor, and memory (GB), of each executed notebook, as last measured."""
    measured = {path.stem: pd.read_csv(path, sep="\t", na_values="-").iloc[-1] for path in executed.glob("*.tsv")}
    columns = {"minutes": "s", "CPU minutes": "cpu_time", "GB": "max_rss"}
    units = {"minutes": 60, "CPU minutes": 60, "GB": 1024}
    rows = [{name: float(row[source]) / units[name] for name, source in columns.items()} for row in measured.values()]
    return pd.DataFrame(rows, index=pd.Index(measured, name="notebook"), columns=[*columns]).sort_index()


def training_times(runs: Path, since: float) -> pd.DataFrame:
    """Number, steps and minutes of the trainings that ended after a time, by kind of model, the longest first."""
    rows = []
    for folder in runs.glob("*/model"):
        if is_stored(folder) and folder.stat().st_mtime >= since:
            history = read_manifest(folder)["history"]
            seconds = sum(row["seconds"] for row in history)
            rows.append((folder.parent.name.rsplit("-", 1)[0], history[-1]["step"], seconds / 60))
    table = pd.DataFrame(rows, columns=["model", "steps", "minutes"])
    totals = table.groupby("model").agg(trainings=("steps", "size"), steps=("steps", "sum"), minutes=("minutes", "sum"))
    return totals.sort_values("minutes", ascending=False)


def print_times(executed: Path, runs: Path, since: float) -> None:
    """Print both tables with their sums."""
    for table in (notebook_times(executed), training_times(runs, since)):
        if len(table):
            table.loc["in all"] = table.sum().where(table.columns != "GB")
            print("\n" + table.to_string(float_format=lambda value: f"{value:.1f}", na_rep=""))
