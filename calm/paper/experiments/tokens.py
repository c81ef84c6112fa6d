"""What tokens are for: CalM beside the same layers on continuous patches; not in the paper."""

import contextlib
from collections.abc import Sequence
from typing import Any

from calm.baselines.patches import ContinuousPatches
from calm.data.session import Session
from calm.errors import CalmError
from calm.models.transformer import DualAxisTransformer
from calm.paper.embeddings.scale import scale_read_outs
from calm.paper.results import Results
from calm.recordings import Recordings
from calm.training.stages import Trained


def add_model(
    results: Results,
    method: str,
    trained: Trained[DualAxisTransformer] | Trained[ContinuousPatches],
    sessions: Sequence[Session],
    recordings: Recordings,
    *,
    group: str,
) -> None:
    """Add what a model of some sessions took, and what can be read out of its embeddings of their neurons (`tokens`).

    With too few neurons nothing can be read out, and only the costs are added.
    """
    add_training(results, method, trained, group=group)
    where = {"item": "tokens", "split": "all", "group": group, "session": "all", "method": method, "n": len(sessions)}
    with contextlib.suppress(CalmError):
        draws = recordings.profile.refits
        read_outs = scale_read_outs(trained.model, sessions, recordings, draws=draws, seed=results.seed)
        for (metric, variable), value in read_outs.items():
            results.add(metric, value, **where, variant=variable)


def add_training(results: Results, method: str, trained: Trained[Any], *, group: str, variant: str = "") -> None:
    """Add how many parameters were trained, and for how long."""
    where = {"item": "tokens", "split": "train", "group": group, "session": "all", "method": method}
    results.add("parameters", trained.parameters, **where, variant=variant)
    results.add("training (s)", trained.seconds, **where, variant=variant)
