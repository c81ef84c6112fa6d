"""The paper's claims about decoding as statistical tests: claims 6 to 9 (section 6.3, Fig. 4B and 4C; spec 8)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from calm.paper import results
from calm.paper.claims.claims import COLUMNS, UNTESTED, compare, judged
from calm.paper.experiments.evaluation import Label

MARGIN = 0.05  # of R2 by which a method may be worse and still counts as competitive; the paper names none
DECODERS = ("GLM", "RRR", "TCN", "POYO+")  # that the paper compares with
CHANNELS = ("pitch", "roll", "yaw")
EXCEPTED = "yaw"
GLU, LINEAR = ("CalM", "GLU head"), ("CalM", "linear head")


def judge_decoding(folder: Path) -> pd.DataFrame:
    """Claims 6 to 9 from `fig4b_trials.csv` and `fig4c_trials.csv` in a folder; what is missing cannot be tested.

    Returns:
        As `calm.paper.claims.claims.judge_claim_2`, a row for each comparison: effect (`ours`), 95 % interval, Holm-corrected p
        values and verdict (`note`); `variant` tells the channel.
    """
    single, many = (read_trials(folder / f"{item}_trials.csv") for item in ("fig4b", "fig4c"))
    tables = [judge_claim_6(single), judge_claim_7(single), judge_claim_8(many), judge_claim_9(many)]
    return pd.concat(tables, ignore_index=True)


def read_trials(file: Path) -> pd.DataFrame:
    """Per-trial results, or a table without rows where there are none."""
    return results.read_item(file) if file.exists() else pd.DataFrame(columns=[*results.COLUMNS, "trial"])


def judge_claim_6(trials: pd.DataFrame) -> pd.DataFrame:
    """GLU head minus every other decoder, channel by channel, in per-trial R2.

    Holm's correction is over methods and channels; the channel that the claim excepts is corrected by itself, and
    stands below.
    """
    rivals = [(name, "") for name in DECODERS]
    rivals += [label for label in labels_of(trials) if label not in rivals and label[0] not in ("CalM", "ceiling")]
    rows, channels = [], channels_of(trials)
    for family in ([name for name in channels if name != EXCEPTED], [name for name in channels if name == EXCEPTED]):
        paired = {channel: per_trial(trials, f"r2 {channel}", "test") for channel in family}
        compared = [(channel, rival) for channel in family for rival in rivals]
        tests = [compare(paired[channel], GLU, rival) for channel, rival in compared]
        for (channel, rival), found in zip(compared, judged(tests), strict=True):
            names = {"variant": channel, "metric": "r2 difference", "method": f"{named(GLU)} over {named(rival)}"}
            note = found["note"] + (" (excepted by the paper)" if channel == EXCEPTED else "")
            rows.append({**found, **names, "note": note})
    return as_table(rows, trials, "claim 6")


def judge_claim_7(trials: pd.DataFrame) -> pd.DataFrame:
    """Linear head minus the best other decoder, chosen on validation trials, for each channel and their mean.

    The p values are of a difference of -`MARGIN`: competitive is what is significantly less than that below.
    """
    metrics = ["r2", *(f"r2 {channel}" for channel in channels_of(trials))]
    best = [best_decoder(per_trial(trials, metric, "val")) for metric in metrics]
    tests = [
        compare(per_trial(trials, metric, "test"), LINEAR, rival, margin=MARGIN) if rival else None
        for metric, rival in zip(metrics, best, strict=True)
    ]
    rows = []
    for metric, rival, found in zip(metrics, best, judged(tests), strict=True):
        names = {"variant": channel_name(metric), "metric": f"r2 difference, tested against -{MARGIN}"}
        numbers = {name: found[name] - MARGIN for name in ("ours", "low", "high") if name in found}
        against = f"{named(rival)}, the best other decoder" if rival else "the best other decoder"
        rows.append({**found, **numbers, **names, "method": f"{named(LINEAR)} against {against}"})
    return as_table(rows, trials, "claim 7")


def judge_claim_8(trials: pd.DataFrame) -> pd.DataFrame:
    """GLU head minus POYO+ on held-in sessions, for the mean over channels and for yaw; in points and relative."""
    return as_table(judge_gain(trials, ["r2", f"r2 {EXCEPTED}"], "held-in"), trials, "claim 8")


def judge_claim_9(trials: pd.DataFrame) -> pd.DataFrame:
    """GLU head minus POYO+ on held-out sessions, for the mean over channels; in points and relative."""
    return as_table(judge_gain(trials, ["r2"], "held-out"), trials, "claim 9")


def judge_gain(trials: pd.DataFrame, metrics: Sequence[str], group: str) -> list[dict[str, str | float]]:
    """Two rows a metric: the difference in points of R2, and relative to POYO+'s mean over sessions.

    The paper does not say which of them its gains are. For the relative one POYO+'s mean is taken as known, so that it
    has the same p values; without a positive mean there is none.
    """
    ours, theirs = (GLU[0], f"{GLU[1]}, {group}"), ("POYO+", group)
    tables = [per_trial(trials, metric, "test") for metric in metrics]
    tests, rows = judged([compare(table, ours, theirs) for table in tables]), []
    for metric, table, found in zip(metrics, tables, tests, strict=True):
        level = table[theirs].groupby("session").mean().mean() if "ours" in found else np.nan
        scaled = {name: found[name] / level for name in ("ours", "low", "high") if name in found}
        relative = {**found, **scaled} if level > 0 else {"note": UNTESTED}
        for form, numbers in (("r2 gain", found), ("relative r2 gain", relative)):
            names = {"variant": f"{channel_name(metric)}, {form}, {group}", "metric": form}
            rows.append({**numbers, **names, "method": f"{named(GLU)} over POYO+"})
    return rows


def per_trial(trials: pd.DataFrame, metric: str, split: str) -> pd.DataFrame:
    """A row a (session, trial), a column a (method, variant); seeds of a trial are averaged."""
    rows = trials[(trials["metric"] == metric) & (trials["split"] == split)]
    return rows.pivot_table(index=["session", "trial"], columns=["method", "variant"], values="value")


def best_decoder(paired: pd.DataFrame) -> Label | None:
    """The decoder of the paper with the highest mean over sessions, of those that are there."""
    known = [(name, "") for name in DECODERS if (name, "") in paired.columns]
    return paired[known].groupby("session").mean().mean().idxmax() if known else None


def labels_of(trials: pd.DataFrame) -> list[Label]:
    """Method and variant of all rows."""
    return list(trials[["method", "variant"]].drop_duplicates().itertuples(index=False, name=None))


def channels_of(trials: pd.DataFrame) -> list[str]:
    """The behavioural channels that were decoded, or those of the paper where nothing was."""
    found = [metric.removeprefix("r2 ") for metric in trials["metric"].unique() if metric.startswith("r2 ")]
    return found or list(CHANNELS)


def channel_name(metric: str) -> str:
    """`yaw` of `r2 yaw`."""
    return metric.removeprefix("r2").strip() or "mean of channels"


def named(label: Label) -> str:
    """`CalM (GLU head)`."""
    method, variant = label
    return f"{method} ({variant})" if variant else method


def as_table(rows: Sequence[Mapping[str, str | float]], trials: pd.DataFrame, claim: str) -> pd.DataFrame:
    """Rows of one claim, with the dataset that they are about."""
    dataset = "" if trials.empty else trials["dataset"].iloc[0]
    return pd.DataFrame(
        [{**row, "item": claim, "dataset": dataset, "split": "test"} for row in rows], columns=list(COLUMNS)
    )
