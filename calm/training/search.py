"""The small search that every trained method gets: the same number of tries, chosen on validation trials."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Generic

from calm.config import FitConfig
from calm.training.stages import Model, Trained


@dataclasses.dataclass(frozen=True, eq=False)
class Search(Generic[Model]):
    """Trainings that differ in their learning rate.

    Attributes:
        tries: by learning rate.
    """

    tries: dict[float, Trained[Model]]

    @property
    def learning_rate(self) -> float:
        """The one with the best validation score."""
        return max(self.tries, key=lambda rate: self.tries[rate].score)

    @property
    def chosen(self) -> Trained[Model]:
        """The training with the best validation score."""
        return self.tries[self.learning_rate]

    @property
    def seconds(self) -> float:
        """Wall time of all tries together."""
        return sum(tried.seconds for tried in self.tries.values())


def search(train: Callable[[FitConfig], Trained[Model]], config: FitConfig, factors: Sequence[float]) -> Search[Model]:
    """Train with each multiple of the configured learning rate."""
    rates = [config.learning_rate * factor for factor in factors]
    return Search({rate: train(config.model_copy(update={"learning_rate": rate})) for rate in rates})
