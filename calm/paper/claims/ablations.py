"""What claim 18 compares: the baseline and what lacks a part of it, in pairs of the same session and training.

Sessions that share a training share its luck, so trainings take the place that sessions have in other claims.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from calm.paper.claims.comparisons import Comparison, Mice, Tables, dataset_of, difference
from calm.paper.claims.statistics import LEVEL, Evidence, least_sure, paired_test


def by_training(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row a (session, training), a column a variant; the baseline is the same in all items."""
    return rows[rows["metric"] == metric].pivot_table(index=["session", "seed"], columns="variant", values="value")


def ablated(scores: pd.DataFrame, first: str, second: str) -> Evidence | None:
    """One variant minus another; `p_sessions` and the interval are about trainings like these."""
    return paired_test(difference(scores, first, second), {}, nested_in="seed")


def ablation_effects(rows: pd.DataFrame) -> pd.DataFrame:
    """What each part adds to each score, baseline minus variant: `metric`, `variant`, and the fields of `Evidence`."""
    effects = []
    for metric, variant in itertools.product(rows["metric"].unique(), rows["variant"].unique()):
        if evidence := ablated(by_training(rows, metric), "baseline", variant):
            effects.append({"metric": metric, "variant": variant, **dataclasses.asdict(evidence)})
    return pd.DataFrame(effects, columns=["metric", "variant", *Evidence.__annotations__])


def helps(
    tables: Tables, mice: Mice, *, items: Sequence[str], metric: str, rollout: str, parts: Sequence[str], most: str = ""
) -> list[Comparison]:
    """The baseline against the variants without one part each; or all these against that without `most`."""
    rows = pd.concat([tables[item] for item in items], ignore_index=True)
    scores = by_training(rows, metric)
    if most:
        evidence = least_sure([ablated(scores, part, most) for part in parts if part != most])
        tests = {f"CalM ({rollout}): {most.removeprefix('without ')} over every other part": evidence}
    else:
        tests = {f"CalM ({rollout}) over CalM {part}": ablated(scores, "baseline", part) for part in parts}
    # p of n pairs is 2^(1 - n) at least, and has to be significant after Holm over the parts.
    fewest = int(np.floor(1 + np.log2(len(parts) / LEVEL))) + 1
    needs = f"{fewest} pairs of session and training" if len(scores) < fewest else ""
    dataset = dataset_of(rows)
    return [Comparison(name, "corr difference", evidence, dataset, needs=needs) for name, evidence in tests.items()]
