"""A user's first figure: what some neurons did after the context of a trial, and what a model had forecast."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from calm.data.preparation import to_unit
from calm.data.session import Session
from calm.model import CalM
from calm.paper.plots import PAGE, example_traces, use_style


def plot_forecast(
    model: CalM, session: Session, trial: int | None = None, *, neurons: int = 4, samples: int = 100
) -> Figure:
    """The neurons of a trial that vary most after its context, in the unit of the recording, with bands.

    Args:
        model: that knows the session.
        session: prepared.
        trial: index; None takes the first test trial.
        neurons: how many.
        samples: rollouts that the bands are made of.

    Raises:
        CalmError: see `CalM.forecast`.
    """
    trials = session.trials_of("test")[:1] if trial is None else np.array([trial])
    context = model.profile.forecast.context
    scores = session.traces[trials[0]]
    shown = np.argsort(scores[:, context:].var(axis=1))[::-1][:neurons]
    (true,) = to_unit(session.neurons, [scores], "original")
    (forecast,) = model.forecast(session, trials, unit="original")
    (futures,) = model.sample(session, trials, samples=samples, unit="original")
    names = [session.neuron_names[neuron] for neuron in shown]
    time = np.arange(true.shape[1]) / session.rate
    with plt.rc_context():
        use_style()
        figure, axes = plt.subplots(len(shown), 1, figsize=(PAGE, 1 + 0.7 * len(shown)), sharex=True, squeeze=False)
        example_traces(
            list(axes[:, 0]),
            time,
            true[shown],
            {"CalM": forecast[shown]},
            names,
            unit=session.unit,
            context=context,
            samples=futures[:, shown],
        )
    return figure
