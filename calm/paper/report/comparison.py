"""Published values beside ours, in one table."""

import numpy as np
import pandas as pd

from calm.paper.report.items import ITEMS
from calm.paper.results import METHOD_KEYS, summarise

KEYS = ["item", "split", "method", "metric"]
VALUE_KEYS = [*KEYS, "variant", "group"]  # name one value of the paper, or one of ours on one dataset
COLUMNS = [*VALUE_KEYS, "paper", "paper_spread", "paper_dataset", "source", "ours", "sem", "n", "dataset", "note"]
NO_COUNTERPART, NOT_RUN = "paper gives no number", "not computed"
VARIANT_OF, IN_VARIANTS = "another variant of the paper's method", "ours in the variants below"
POOLED = ("", "all")  # in place of a session where a value is of all sessions together


def summarise_results(results: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard error and n over sessions; no n where a value is of all sessions together."""
    keys = list(METHOD_KEYS)
    pooled = results.assign(pooled=results["session"].isin(POOLED)).groupby(keys, sort=False)["pooled"].all()
    summary = summarise(results, keys)
    return summary.assign(n=summary["n"].where(~pooled.to_numpy()))


def compare(ours: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Published values and ours in one table, the dataset of each named; `note` says where one of them is missing.

    A published row stands beside our row of the same item, split, method, metric, variant and group, on whatever
    dataset; our other variants and groups of the paper's method stand below it. Tables are those of
    `summarise_results` and `read_published`.
    """
    names = {"dataset": "paper_dataset", "value": "paper", "sem_or_sd": "paper_spread"}
    paper, ours = published.rename(columns=names).drop(columns="n"), ours.rename(columns={"mean": "ours"})
    has_paper = pd.MultiIndex.from_frame(ours[VALUE_KEYS]).isin(pd.MultiIndex.from_frame(paper[VALUE_KEYS]))
    rows = pd.concat([paper.merge(ours[has_paper], how="left", on=VALUE_KEYS), ours[~has_paper]], ignore_index=True)
    return in_order(rows.assign(note=notes(rows)))[COLUMNS]


def notes(rows: pd.DataFrame) -> np.ndarray:
    """Why a row lacks the paper's value or ours, if it does."""
    of_method = rows.groupby(KEYS)[["paper", "ours"]].transform("count")
    without_variant = (rows["variant"] + rows["group"]).eq("")
    cases = {
        VARIANT_OF: rows["paper"].isna() & (of_method["paper"] > 0),
        NO_COUNTERPART: rows["paper"].isna(),
        IN_VARIANTS: rows["ours"].isna() & without_variant & (of_method["ours"] > 0),
        NOT_RUN: rows["ours"].isna(),
    }
    return np.select(list(cases.values()), list(cases), default="")


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Items in the paper's order, ours after them; in them split, metric, method and variant as they first appear."""
    places = {item.name: place for place, item in enumerate(ITEMS)}
    ranks = {"item": rows["item"].map(places).fillna(len(places))}
    for keys in (["item", "split"], ["item", "metric"], ["item", "method"], ["item", "method", "variant", "group"]):
        ranks["+".join(keys)] = rows.groupby(keys, sort=False).ngroup()
    return rows.loc[pd.DataFrame(ranks).sort_values(list(ranks), kind="stable").index].reset_index(drop=True)
