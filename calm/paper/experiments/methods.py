"""The methods of a figure on one session: forecasters or decoders, what each of them took, and how its tries went."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from calm.data.session import Session
from calm.paper.results import Results
from calm.training.stages import Search

Method = tuple[str, str]  # its name and its variant
Kind = TypeVar("Kind")  # a forecaster or a decoder
Output = TypeVar("Output")
# What a try of a search scored on validation trials: the metric, and its sign in a score where higher is better.
TRIES = {"forecast": ("validation corr of a try", 1), "decoding": ("validation mse of a try", -1)}


def costs_of(parameters: int, seconds: float, search: float) -> dict[str, int | float]:
    """Trained parameters, seconds of the training that was kept, and of all tries together, by metric."""
    return {"parameters": parameters, "training (s)": seconds, "search (s)": search}


@dataclasses.dataclass(eq=False)
class MethodSet(Generic[Kind]):
    """Trained methods of a session, by name and variant.

    Attributes:
        methods: forecasters or decoders.
        costs: of their training, by metric; one for all variants of a method that are trained together.
        searches: the tries of those that were searched.
        seconds: per trial, of their last use.
    """

    methods: dict[Method, Kind] = dataclasses.field(default_factory=dict)
    costs: dict[Method, dict[str, int | float]] = dataclasses.field(default_factory=dict)
    searches: dict[Method, Search] = dataclasses.field(default_factory=dict)
    seconds: dict[Method, float] = dataclasses.field(default_factory=dict)

    def fit(self, name: Method, method: Any, session: Session) -> None:
        """Add a method without hyperparameters to search, fitted to the session here and now."""
        began = time.perf_counter()
        self.methods[name] = method.fit(session)
        seconds = time.perf_counter() - began
        self.costs[name] = costs_of(method.parameters, seconds, seconds)

    def add(self, name: Method, method: Kind, search: Search) -> None:
        """Add a method that was searched."""
        self.methods[name], self.searches[name] = method, search
        self.costs[name] = costs_of(search.chosen.parameters, search.chosen.seconds, search.seconds)

    def use(self, call: Callable[[Kind], Output], trials: int) -> dict[Method, Output]:
        """What each method makes of so many trials; its seconds for one of them are kept."""
        outputs = {}
        for name, method in self.methods.items():
            began = time.perf_counter()
            outputs[name] = call(method)
            self.seconds[name] = (time.perf_counter() - began) / trials
        return outputs


def add_costs(
    results: Results,
    trained: MethodSet,
    session: Session,
    *,
    item: str,
    task: Literal["forecast", "decoding"],
    trials: int,
) -> None:
    """Add to `<item>_cost` what the methods took to train, and per test trial to use, and what their tries scored."""
    where = {"item": f"{item}_cost", "session": session.name}
    for (method, variant), costs in trained.costs.items():
        for metric, value in costs.items():
            results.add(metric, value, **where, split="train", method=method, variant=variant)
    for (method, variant), seconds in trained.seconds.items():
        used = f"{task} of a trial (ms)"
        results.add(used, 1000 * seconds, n=trials, **where, split="test", method=method, variant=variant)
    metric, sign = TRIES[task]
    for (method, variant), search in trained.searches.items():
        for rate, tried in search.tries.items():
            name = ", ".join(filter(None, (variant, f"learning rate {rate:.2g}")))
            results.add(metric, sign * tried.score, **where, split="val", method=method, variant=name)
