"""From decoded behaviour to rows of the results table: scores per session and trial, gains, costs, shares of labels.

What the metrics are called: `r2 yaw`, `mse yaw` and `corr yaw` are of the channel yaw, per trial, then averaged over
trials, as the paper's authors do; `r2 over frames yaw` is over all frames of a session's trials at once. Without a
channel, they are means over the channels.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.data.session import Session
from calm.metrics import channel_scores
from calm.paper.experiments.evaluation import Label
from calm.paper.experiments.scores import Scores
from calm.paper.experiments.trial_classification import Classified
from calm.paper.results import COLUMNS, Row, TrialRow, table

DECODING_TRY = "validation mse of a try"  # metric of the rows that tell how a search went
GAIN = "r2 gain over POYO+"  # in points of R2; the paper does not say whether its gains are that, or relative
RELATIVE_GAIN = "relative r2 gain over POYO+"
ALL_SESSIONS = "all"  # in place of the name of a session
Decoded = Sequence[Float[np.ndarray, "_frame behaviour"]]
Pair = tuple[Float[np.ndarray, "_frame behaviour"], Float[np.ndarray, "_frame behaviour"]]  # true and decoded


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShareRow(Row):
    """The number of decoders that were given the behaviour of a share of the training trials, as `fig4b_labels`."""

    share: float


def known_mean(
    values: Float[np.ndarray, "trial behaviour"],
) -> tuple[Float[np.ndarray, " behaviour"], Int[np.ndarray, " behaviour"]]:
    """Mean over the trials that have a value, and how many have; NaN where none has."""
    counts = np.isfinite(values).sum(axis=0)
    return np.divide(np.nansum(values, axis=0), counts, out=np.full(counts.shape, np.nan), where=counts > 0), counts


def by_channel(
    metric: str, values: Float[np.ndarray, " behaviour"], counts: Int[np.ndarray, " behaviour"], names: Sequence[str]
) -> dict[str, tuple[float, int]]:
    """Value and n of a metric for each channel, and of the mean over the channels that have a value."""
    mean, _ = known_mean(values[:, None])
    channels = zip(names, values.tolist(), counts.tolist(), strict=True)
    return {
        metric: (float(mean[0]), int(counts.max())),
        **{f"{metric} {name}": (each, n) for name, each, n in channels},
    }


def summary(pairs: Sequence[Pair], names: Sequence[str]) -> dict[str, tuple[float, int]]:
    """Every metric of a session, with the number of trials that it is the mean of."""
    trials, found = [channel_scores(*pair) for pair in pairs], {}
    for metric in ("r2", "mse", "corr"):
        found |= by_channel(metric, *known_mean(np.stack([scores[metric] for scores in trials])), names)
    joined = channel_scores(*(np.concatenate(each) for each in zip(*pairs, strict=True)))["r2"]
    return found | by_channel("r2 over frames", joined, np.isfinite(joined) * len(pairs), names)


def trial_r2(pair: Pair, names: Sequence[str]) -> dict[str, float]:
    """R2 of one trial, of the channels that have one and of their mean."""
    values = channel_scores(*pair)["r2"]
    found = by_channel("r2", values, np.isfinite(values).astype(int), names)
    return {metric: value for metric, (value, n) in found.items() if n}


def gains(scores: pd.DataFrame, group: str) -> pd.DataFrame:
    """Rows of Fig. 4C: by how much the GLU head is above POYO+ on test trials of one group, held-in or held-out.

    In points of R2, a row a session, and relative to POYO+'s mean over sessions, a row for all of them (NaN where that
    mean is not above 0); both for each channel and their mean.
    """
    rows = scores[(scores["split"] == "test") & scores["metric"].map(is_trial_r2)]
    ours = rows[(rows["method"] == "CalM") & (rows["variant"] == f"GLU head, {group}")]
    theirs = rows[(rows["method"] == "POYO+") & (rows["variant"] == group)]
    both = ours.merge(theirs[["session", "metric", "seed", "value"]], on=["session", "metric", "seed"])
    both["channel"] = both["metric"].str.removeprefix("r2")
    points = both.assign(metric=GAIN + both["channel"], value=both["value_x"] - both["value_y"])
    means = both.groupby("metric", sort=False)[["value_x", "value_y"]].transform("mean")
    relative = means["value_x"] / means["value_y"].where(means["value_y"] > 0) - 1
    counts = both.groupby("metric")["session"].transform("nunique")
    whole = both.assign(metric=RELATIVE_GAIN + both["channel"], value=relative, session=ALL_SESSIONS, n=counts)
    return pd.concat([points, whole.drop_duplicates(["metric", "seed"])], ignore_index=True)[COLUMNS]


def is_trial_r2(metric: str) -> bool:
    """Whether a metric is R2 per trial, of a channel or their mean."""
    return metric == "r2" or (metric.startswith("r2 ") and not metric.startswith("r2 over frames"))


class DecodingScores(Scores):
    """Rows of a decoding figure.

    Attributes:
        trial_rows: R2 of a trial, method and channel each, and their mean over channels.
        share_rows: as `rows`, by the share of labelled training trials.
    """

    use, tried, sign = "decoding of a trial (ms)", DECODING_TRY, -1

    def __init__(self, item: str, dataset: str, seed: int, window: int):
        """Take the item, and the frames of a token: all methods are scored on whole tokens, which is all CalM has."""
        super().__init__(item, dataset, seed)
        self.window = window
        self.share_rows: list[ShareRow] = []

    def add(
        self,
        session: Session,
        trials: Int[np.ndarray, " part"],
        decoded: Mapping[Label, Decoded],
        group: str = "",
    ) -> None:
        """Score behaviour that was decoded, on whole trials of one split or on their whole tokens.

        `group`, held-in or held-out, is put behind the variant. Trials on which a score is not defined (see
        `calm.metrics.channel_scores`) take no part in it: `n` tells how many do.
        """
        for label, guesses in decoded.items():
            shared = self.shared_by(session, trials, label, group)
            pairs = self.pairs(session, trials, guesses)
            self.rows += [
                Row(item=self.item, metric=metric, value=value, n=n, **shared)
                for metric, (value, n) in summary(pairs, session.behaviour_names).items()
            ]
            self.trial_rows += [
                TrialRow(item=f"{self.item}_trials", metric=metric, value=value, n=1, trial=int(trial), **shared)
                for trial, pair in zip(trials, pairs, strict=True)
                for metric, value in trial_r2(pair, session.behaviour_names).items()
            ]

    def add_share(
        self, session: Session, trials: Int[np.ndarray, " part"], decoded: Mapping[Label, Decoded], share: float
    ) -> None:
        """Score decoders that were given the behaviour of this share of the training trials."""
        for label, guesses in decoded.items():
            shared = {"share": share, **self.shared_by(session, trials, label, "")}
            found = summary(self.pairs(session, trials, guesses), session.behaviour_names)
            self.share_rows += [
                ShareRow(item=f"{self.item}_labels", metric=metric, value=value, n=n, **shared)
                for metric, (value, n) in found.items()
            ]

    def add_classified(self, session: Session, label: Label, what: str, found: Classified) -> None:
        """How well a label of trials, as `hit`, is told from the features of a method, beside shuffled labels."""
        method, variant = label
        control = ", ".join(filter(None, (variant, "shuffled labels")))
        for metric, value in found.scores.items():
            values = {(metric, variant): value, (metric, control): float(found.shuffled[metric].mean())}
            values["p of " + metric, variant] = found.p(metric)
            self.rows += [
                Row(
                    **{"item": self.item, "metric": f"{name} {what}", "value": each, "n": found.trials},
                    **self.shared(session, "test", method, kind),
                )
                for (name, kind), each in values.items()
            ]

    def shared_by(
        self, session: Session, trials: Int[np.ndarray, " part"], label: Label, group: str
    ) -> dict[str, str | int]:
        """What all rows of a method on trials of one split have in common."""
        method, variant = label
        split = session.trials["split"].iloc[trials[0]]
        return self.shared(session, split, method, ", ".join(filter(None, (variant, group))))

    def pairs(self, session: Session, trials: Int[np.ndarray, " part"], decoded: Decoded) -> list[Pair]:
        """True and decoded behaviour of each trial, cut to whole tokens."""
        whole = session.frames[trials] // self.window * self.window
        given = zip(trials, decoded, whole, strict=True)
        return [(session.behaviour[trial][:frames], guess[:frames]) for trial, guess, frames in given]

    def share_table(self) -> pd.DataFrame:
        """A row a session, method, metric and share of labelled trials."""
        return table(self.share_rows)
