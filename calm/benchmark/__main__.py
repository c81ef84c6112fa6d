"""Command line: measure every case, print the table section by section, write it with its figure and provenance."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from calm.benchmark.cases import all_cases
from calm.benchmark.complexity import exponents, growing_steps
from calm.benchmark.measure import Row, measure_apart, measure_here
from calm.benchmark.settings import Settings, choose_settings
from calm.errors import command
from calm.paper.plots.complexity import complexity_figure
from calm.paper.provenance import device_name, run_provenance
from calm.paper.results import FIGURE_KINDS, recorded, save_figure, update_provenance
from calm.paths import FIGURES, ensure_writable
from calm.storage import written_whole

ITEM = "benchmark"
HIDDEN = ("section", "fastest ms", "axis", "factor")  # columns that are not printed


def run_cases(settings: Settings) -> pd.DataFrame:
    """A row for every case, printed by section as soon as that is measured."""
    rows: list[Row] = []
    measure = measure_here if settings.device == "cuda" else measure_apart  # a GPU's allocator counts by itself
    for case in tqdm(all_cases(settings), desc="Benchmark", unit="row"):
        if rows and rows[-1]["section"] != case.section:
            print_last(rows, settings)
        about = {"section": case.section, "model": case.model, "setting": case.setting}
        rows.append(about | measure(case, settings))
    print_last(rows, settings)
    return with_shares(pd.DataFrame(rows), settings)


def with_shares(table: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The table with the rate of every row as a share of the machine's, in the precision that steps are made in."""
    rates = table[table["setting"] == str(settings.product_type)]["TFLOP/s"]
    per_second = 1000 * table["TFLOP"] / table["ms"]
    return table.assign(**{"% of rate": 100 * per_second / rates.iloc[0]})


def print_last(rows: list[Row], settings: Settings) -> None:
    """Print the section that the last row is of, without the columns that it leaves empty."""
    table = with_shares(pd.DataFrame(rows), settings)
    print_section(table[table["section"] == rows[-1]["section"]])


def print_section(table: pd.DataFrame) -> None:
    """Print a part of the table, without the columns that are empty there."""
    shown = table.drop(columns=list(HIDDEN), errors="ignore").dropna(axis=1, how="all")
    text = shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.3g}")
    tqdm.write(f"\n{table['section'].iloc[0]}\n{text}")


def save(table: pd.DataFrame, folder: Path, settings: Settings, started: float) -> None:
    """Write `benchmark.csv`, `.png` and `.pdf`, and what they were made with."""
    steps = growing_steps(table)
    fits = exponents(steps)
    print_section(fits)
    about = run_provenance(settings.model_dump(mode="json"), 0, {}, started)
    with recorded(folder, *(f"{ITEM}.{kind}" for kind in ("csv", *FIGURE_KINDS))):
        with written_whole(folder / f"{ITEM}.csv") as file:
            pd.concat([table, fits]).to_csv(file, index=False)
        save_figure(folder / ITEM, complexity_figure(steps, fits), about)
    update_provenance(folder / "provenance.json", ITEM, about)


def machine_text() -> str:
    """What the machine is, and how busy: other programs' load is in every number."""
    load = os.getloadavg()[0]
    return f"{device_name()}, {torch.get_num_threads()} threads, load average before the first row {load:.1f}"


def parse(words: list[str]) -> dict[str, Any]:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="python -m calm.benchmark", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--folder", type=Path, help="for table and figure; default: figures/cpu or figures/gpu")
    return vars(parser.parse_args(words))


def main(words: list[str]) -> None:
    """Command line; a user's mistake ends with one sentence and exit status 1."""
    options, started = parse(words), time.time()
    with command():
        settings = choose_settings(options["device"], quick=options["quick"])
        default = FIGURES / ("gpu" if settings.device == "cuda" else "cpu")
        folder = ensure_writable(options["folder"] or default)
        print(machine_text())
        save(run_cases(settings), folder, settings, started)


if __name__ == "__main__":
    main(sys.argv[1:])
