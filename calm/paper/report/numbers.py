"""Published values beside ours, in one table."""

from collections.abc import Sequence
from importlib import resources

import numpy as np
import pandas as pd

from calm.paper.report.items import ITEMS
from calm.paper.results import summarise

PUBLISHED = resources.files("calm.paper.report") / "published.csv"
KEYS = ["item", "split", "method", "metric"]
COLUMNS = [
    *KEYS,
    *("variant", "paper", "paper_spread", "paper_dataset", "source", "ours", "sem", "n", "dataset", "note"),
]
NO_COUNTERPART, NOT_RUN = "paper gives no number", "not computed"
VARIANT_OF, IN_VARIANTS = "variant of the paper's method", "ours in the variants below"
POOLED = ("", "all")  # in place of a session where a number is of all sessions together


def read_published() -> pd.DataFrame:
    """The published values (`published.csv`); an empty variant stays an empty string."""
    numbers = {"value": [""], "sem_or_sd": [""], "n": [""]}
    return pd.read_csv(str(PUBLISHED), keep_default_na=False, na_values=numbers)


def summarise_results(results: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard error and n over sessions; no n where a number is of all sessions together."""
    keys = ["item", "dataset", "split", "method", "variant", "metric"]
    pooled = results.assign(pooled=results["session"].isin(POOLED)).groupby(keys, sort=False)["pooled"].all()
    summary = summarise(results, keys)
    return summary.assign(n=summary["n"].where(~pooled.to_numpy()))


def counterpart(variant: str, published: Sequence[str]) -> str:
    """The published variant that one of ours belongs to: all of its parts are in ours; else our own name.

    `GLU head, held-in` belongs to `GLU head` where the paper has that, else to the method as such (an empty variant).
    """
    parts = {"", *variant.split(", ")}
    return max((name for name in published if set(name.split(", ")) <= parts), key=len, default=variant)


def compare(ours: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Published values and ours in one table, the dataset of each named; `note` says where one of them is missing.

    A published row stands beside our row of the same item, split, method, variant and metric, on whatever dataset; our
    other variants of the paper's method stand below it. Items and methods keep the paper's order, then ours.

    Args:
        ours: as from `summarise_results`.
        published: as from `read_published`.
    """
    names = {"dataset": "paper_dataset", "value": "paper", "sem_or_sd": "paper_spread", "variant": "paper_variant"}
    paper = published.rename(columns=names).drop(columns="n")
    variants = paper.groupby(KEYS)["paper_variant"].agg(list).to_dict()
    keys = list(ours[KEYS].itertuples(index=False, name=None))
    homes = [counterpart(variant, variants.get(key, [])) for key, variant in zip(keys, ours["variant"], strict=True)]
    known = [home in variants.get(key, []) for key, home in zip(keys, homes, strict=True)]
    ours = ours.rename(columns={"mean": "ours"}).assign(paper_variant=homes, known=known)
    beside = ours["known"] & (ours["variant"] == ours["paper_variant"])
    joined = paper.merge(ours[beside], how="left", on=[*KEYS, "paper_variant"])
    rows = pd.concat([joined, ours[~beside]], ignore_index=True)
    rows["variant"] = rows["variant"].fillna(rows["paper_variant"])
    return in_order(rows.assign(note=notes(rows)))[COLUMNS]


def notes(rows: pd.DataFrame) -> np.ndarray:
    """Why a row lacks the paper's value or ours, if it does."""
    homes = [*KEYS, "paper_variant"]
    has_variants = rows.assign(found=rows["ours"].notna()).groupby(homes)["found"].transform("any")
    cases = {
        NO_COUNTERPART: rows["paper"].isna() & ~rows["known"].eq(True),
        VARIANT_OF: rows["paper"].isna(),
        IN_VARIANTS: rows["ours"].isna() & has_variants,
        NOT_RUN: rows["ours"].isna(),
    }
    return np.select(list(cases.values()), list(cases), default="")


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Items in the paper's order, ours behind; in them split, metric, method and variant as they first appear."""
    known = {item.name: position for position, item in enumerate(ITEMS)}
    ranks = {"item": rows["item"].map(known).fillna(len(known))}
    for keys in (["item", "split"], ["item", "metric"], ["item", "method"], ["item", "method", "paper_variant"]):
        ranks["+".join(keys)] = rows.groupby(keys, sort=False).ngroup()
    ranks["below"] = rows["paper"].isna()
    return rows.loc[pd.DataFrame(ranks).sort_values(list(ranks), kind="stable").index].reset_index(drop=True)
