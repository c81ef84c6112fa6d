"""Results that the tests of the claims and of the report share."""

import itertools

import numpy as np
import pandas as pd
from PIL import Image

from calm.paper.results import Results, save_item, update_provenance


def trial_rows(scores, sessions, trials=20, seed=0, noise=0.05, item="fig3b_trials"):
    """Per-trial correlations around a level for each (method, variant); a trial is as easy for every method."""
    rng = np.random.default_rng(seed)
    results = Results("simulation", seed=0)
    for session, split in itertools.product(range(sessions), ("val", "test")):
        for trial, ease in enumerate(rng.normal(0, 0.2, trials)):
            for (method, variant), level in scores.items():
                names = {"session": f"s{session}", "split": split, "method": method, "variant": variant}
                results.add("corr", level + ease + noise * rng.normal(), item=item, trial=trial, **names)
    return results.table(item)


BETTER = {("CalM", "greedy"): 0.1, ("CalM", "mean of 4"): 0.2, ("CalM", "mean of 16"): 0.6, ("decay", ""): 0.4}


def results_rows(item, values, dataset="cohort", metric="corr", **where):
    """Two sessions' results around a value for each (method, variant)."""
    results = Results(dataset, seed=0)
    for (method, variant), value in values.items():
        for session in range(2):
            names = {"split": "test", "session": f"s{session}", "method": method, "variant": variant, **where}
            results.add(metric, value + 0.01 * session, item=item, n=4, **names)
    return results.table(item)


def save_figure_of(folder, item, width=1004, height=600):
    """A blank figure of an item, as fine as calm's."""
    Image.new("RGB", (width, height), "white").save(folder / f"{item}.png", dpi=(300, 300))


def fill(folder):
    """A folder of results with a figure, its trials, its costs and provenance."""
    trials = trial_rows(BETTER, 3)
    save_item(folder, "fig3b_trials", trials, None, {})
    keys = list(trials.columns.drop(["trial", "value", "n"]))
    means = trials.groupby(keys, sort=False)["value"].agg(value="mean", n="count").reset_index()
    save_item(folder, "fig3b", means.assign(item="fig3b"), None, {})
    save_figure_of(folder, "fig3b")
    costs = [("parameters", "train", "", 1562300.0), ("validation corr of a try", "val", "learning rate 0.001", 0.712)]
    tables = [
        results_rows("fig3b_cost", {("POCO", variant): value}, "simulation", metric, split=split)
        for metric, split, variant, value in costs
    ]
    save_item(folder, "fig3b_cost", pd.concat(tables), None, {})
    entry = {"config": {"dat": {"width": 95}}, "seed": 0, "commit": "a" * 40, "dirty": True}
    entry |= {"device": "CPU (test)", "threads": 2, "date": "2026-01-01", "wall_time_s": 90.0}
    update_provenance(folder / "provenance.json", "fig3b", entry)
    return folder
