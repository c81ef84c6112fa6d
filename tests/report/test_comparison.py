"""Published values beside ours: none lost, none doubled, each with the row that it belongs to."""

import numpy as np
import pandas as pd
import pytest
from report_cases import results_rows

from calm.paper.report.comparison import (
    IN_VARIANTS,
    NO_COUNTERPART,
    NOT_RUN,
    VALUE_KEYS,
    VARIANT_OF,
    compare,
    summarise_results,
)
from calm.paper.report.items import ITEMS
from calm.paper.results import read_published


def test_published_values_are_all_there_once_and_each_belongs_to_an_item():
    published = read_published()
    assert not published.duplicated(VALUE_KEYS).any()
    assert set(published["item"]) <= {item.name for item in ITEMS}
    counts = published["item"].value_counts()
    assert counts[["fig3c", "fig4b", "fig4c", "table7", "table8", "table9"]].tolist() == [5, 18, 3, 4, 3, 6]
    fig3c = published[published["item"] == "fig3c"].set_index("method")["value"]
    assert fig3c["CalM"] == 0.4025 and fig3c.idxmax() == "CalM"


def compared(item, values, **where):
    """Ours and the published values of one item."""
    both = compare(summarise_results(results_rows(item, values, **where)), read_published())
    return both[both["item"] == item].reset_index(drop=True)


def test_ours_stand_beside_the_paper_whatever_the_data_and_both_are_named():
    poco = compared("fig3c", {("POCO", ""): 0.3}).set_index("method").loc["POCO"]
    assert poco["ours"] == pytest.approx(0.305)
    assert poco[["paper", "paper_dataset", "dataset", "note"]].tolist() == [0.2901, "dandi_000579", "cohort", ""]


def test_our_variants_stand_below_the_papers_method():
    rows = compared("fig3c", {("decay", ""): 0.1, ("CalM", "greedy"): 0.2, ("CalM", "mean of 4"): 0.3})
    calm = rows[rows["method"] == "CalM"]
    assert calm["variant"].tolist() == ["", "greedy", "mean of 4"]
    assert calm["note"].tolist() == [IN_VARIANTS, VARIANT_OF, VARIANT_OF]
    assert calm["paper"].notna().tolist() == [True, False, False]
    assert list(dict.fromkeys(rows["method"])) == ["iTransformer", "PatchTST", "TCN", "POCO", "CalM", "decay"]
    assert rows.set_index("method").loc[["TCN", "decay"], "note"].tolist() == [NOT_RUN, NO_COUNTERPART]


def test_a_published_variant_stands_beside_the_same_variant_only():
    rows = compared("table7", {("CalM", "baseline"): 0.5, ("CalM", "another"): 0.4}).set_index("variant")
    assert rows.loc["baseline", "paper"] == 0.3424 and rows.loc["baseline", "note"] == ""
    assert rows.loc[["another", "without Gumbel"], "note"].tolist() == [VARIANT_OF, NOT_RUN]


def test_held_out_mice_stand_beside_the_papers_held_out_mice():
    rows = compared("fig4c", {("CalM", "GLU head"): 0.5}, metric="r2 gain over POYO+", group="held-out")
    rows = rows[rows["metric"] == "r2 gain over POYO+"].set_index("group")
    assert rows["paper"].to_dict() == {"held-in": 0.101, "held-out": 0.072}
    assert np.isnan(rows.loc["held-in", "ours"]) and rows.loc["held-out", "ours"] == pytest.approx(0.505)


@pytest.mark.parametrize("where", [{"split": "val"}, {"metric": "mse"}, {"group": "held-in"}])
def test_another_split_metric_or_group_than_the_papers_is_no_counterpart(where):
    assert compared("fig3c", {("POCO", ""): 0.3}, **where)["ours"][:3].isna().all()


def test_comparison_loses_no_number():
    rng = np.random.default_rng(0)
    names = [["fig3c", "table7", "ours"], ["CalM", "POCO"], ["", "greedy", "baseline"], ["", "held-in"]]
    keys = rng.permutation(pd.MultiIndex.from_product(names).to_frame().to_numpy())[:20]
    tables = [
        results_rows(item, {(method, variant): rng.uniform()}, group=group) for item, method, variant, group in keys
    ]
    ours, published = summarise_results(pd.concat(tables)), read_published()
    both = compare(ours, published)
    assert sorted(both["ours"].dropna()) == sorted(ours["mean"])
    assert sorted(both["paper"].dropna()) == sorted(published["value"])
    assert not both.duplicated([*VALUE_KEYS, "dataset"]).any()


def test_a_number_of_all_sessions_together_has_no_n():
    rows = results_rows("table9", {("CalM", "neuron embedding"): 0.5})
    together = summarise_results(rows[rows["session"] == "s0"].assign(session="all"))
    assert summarise_results(rows)["n"].tolist() == [2] and together["n"].isna().all()
