"""Results tables with planted scores, for the tests of the claims."""

import itertools

import numpy as np
import pandas as pd

from calm.paper.claims.table import judge
from calm.paper.results import COLUMNS


def judged(folder, claim, **tables):
    """The tests of a claim on these tables, by what is compared."""
    folder.mkdir(exist_ok=True)
    for item, rows in tables.items():
        rows.reindex(columns=[*COLUMNS, *rows.columns.difference(COLUMNS)]).to_csv(folder / f"{item}.csv", index=False)
    return judge(folder, [claim]).set_index("method")


def session_rows(sessions_of_each, **about):
    """Whose each session is, for a tuple of the number of sessions of each mouse."""
    names = [(mouse, number) for mouse, count in enumerate(sessions_of_each) for number in range(count)]
    rows = [{"session": f"{mouse}-{number}", "subject": f"mouse {mouse}"} for mouse, number in names]
    return pd.DataFrame(rows).assign(metric="neurons", value=1, **about).fillna("")


def trial_rows(scores, mice, trials=10, noise=0.05, seed=0, metrics=("corr",), group=""):
    """Per-trial scores around a level for each (method, variant), or a level each metric; a trial is as easy for all.

    Sessions differ in how well a method does, by half of the noise. `mice` is the number of sessions of each mouse.
    """
    rng, rows = np.random.default_rng(seed), []
    for session in session_rows(mice)["session"]:
        sway = {method: noise / 2 * rng.normal() for method in scores}
        for split, trial in itertools.product(("val", "test"), range(trials)):
            ease = rng.normal(0, 0.2)
            for (method, variant), level in scores.items():
                values = np.broadcast_to(level, len(metrics)) + ease + sway[method, variant]
                values = values + noise * rng.normal(size=len(metrics))
                about = {"session": session, "split": split, "method": method, "variant": variant, "trial": trial}
                rows += [
                    {**about, "metric": metric, "value": value} for metric, value in zip(metrics, values, strict=True)
                ]
    return pd.DataFrame(rows).assign(group=group, dataset="cohort", n=1, seed=0)
