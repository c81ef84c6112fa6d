"""Rows of Table 9 and Figure 6: how well mouse, area and layer can be told from embeddings."""

import dataclasses

import pandas as pd

from calm.paper.embeddings.classification import Classification
from calm.paper.embeddings.embedding_rows import ALL, SHUFFLED, DrawRow
from calm.paper.results import Row, table

ITEM = "table9"
CONFUSIONS = {"mouse": "fig6a", "area": "fig6b", "layer": "fig6_layer"}  # the paper draws the first two
SESSION, NEURON, NEW_SESSION = "session embedding", "neuron embedding", "neuron embedding, new sessions"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfusionRow(Row):
    """How many of one class were taken for another: in each session, `table9_predictions`; in all, `fig6a`."""

    true: str
    predicted: str


class LabelScores:
    """Collects the rows.

    Attributes:
        rows: of Table 9: accuracy, and what to judge it by.
        draw_rows: accuracy as observed, draw 0, and with shuffled labels.
        confusion_rows: what was taken for what, session by session; of session embeddings also over all of them.
    """

    def __init__(self, dataset: str, seed: int):
        self.dataset, self.seed = dataset, seed
        self.rows: list[Row] = []
        self.draw_rows: list[DrawRow] = []
        self.confusion_rows: list[ConfusionRow] = []

    def add(self, kind: str, label: str, found: Classification) -> None:
        """Rows of one classification: `kind` of embedding and split (SESSION, ...), and `label`, as mouse."""
        shared = {"dataset": self.dataset, "split": "", "method": "CalM", "variant": kind, "seed": self.seed}
        values = {
            f"accuracy {label}": found.accuracy,
            f"balanced accuracy {label}": found.balanced,
            f"largest class {label}": found.majority,
            f"accuracy {label}, {SHUFFLED}": found.shuffled.mean(),
        }
        count = {"n": found.count, "session": ALL}
        self.rows += [
            Row(item=ITEM, metric=name, value=float(value), **count, **shared) for name, value in values.items()
        ]
        self.draw_rows += [
            DrawRow(item=f"{ITEM}_shuffles", metric=f"accuracy {label}", value=value, draw=draw, **count, **shared)
            for draw, value in enumerate([found.accuracy, *found.shuffled.tolist()])
        ]
        about = {"item": f"{ITEM}_predictions", "metric": f"count {label}", **shared}
        for row in found.counts.to_dict("records"):
            value, whose = float(row.pop("count")), {"n": 1, **row}
            self.confusion_rows.append(ConfusionRow(value=value, **whose, **about))
        if kind == SESSION:
            self.add_confusion(CONFUSIONS[label], found, shared)

    def add_confusion(self, item: str, found: Classification, shared: dict[str, str | int]) -> None:
        """A row for each pair of a true and a predicted class; n is the number of the true one."""
        about = {"item": item, "session": ALL, "metric": "count", **shared}
        for true, counts in zip(found.classes, found.confusion.tolist(), strict=True):
            for predicted, value in zip(found.classes, counts, strict=True):
                row = ConfusionRow(true=true, predicted=predicted, value=float(value), n=sum(counts), **about)
                self.confusion_rows.append(row)

    def tables(self) -> dict[str, pd.DataFrame]:
        """A table for each item."""
        kinds = [table(rows) for rows in (self.rows, self.draw_rows, self.confusion_rows) if rows]
        return {str(item): own for rows in kinds for item, own in rows.groupby("item", sort=False)}
