"""A trained model to play with: a neuron in a trial, as tokens, as possible futures, and among the other neurons."""

from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import DisplayHandle, display
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calm.data.preparation import to_unit
from calm.data.session import Session
from calm.errors import CalmError
from calm.model import CalM
from calm.models.layers import NeuronAttention
from calm.models.transformer import DualAxisTransformer, TokenBatch
from calm.paper.plots import COLOURS, PAGE, example_traces, letters, use_style
from calm.training.reconstruction import reconstruct

ROLLOUTS = (20, 50, 100, 200)  # 19 are the fewest whose middle 90 % can be told
DRAWN, NEIGHBOURS = 10, 4  # rollouts drawn one by one; nearest neurons whose traces are shown
CHOSEN = "black"


class Explorer:
    """Choices of session, trial, neuron and rollouts, and the figure of what is chosen.

    In JupyterLab and VS Code a change of one of `choices` redraws the figure; where nobody is there to choose, and in
    a notebook that was executed before, it is a picture of the first test trial's liveliest neuron.
    """

    def __init__(self, model: CalM, sessions: Mapping[str, Session]):
        self.model, self.sessions = model, sessions
        self.figure: Figure | None = None
        self.shown: DisplayHandle | None = None
        self.choices = {
            "session": widgets.Dropdown(options=list(sessions), description="session", layout={"width": "max-content"}),
            "trial": widgets.IntSlider(description="trial", continuous_update=False),
            "neuron": widgets.IntSlider(description="neuron", continuous_update=False),
            "rollouts": widgets.Dropdown(options=ROLLOUTS, value=100, description="rollouts"),
        }
        self.begin_session()
        self.choices["session"].observe(self.begin_session, "value")
        self.choices["rollouts"].observe(self.draw, "value")

    def begin_session(self, _: object = None) -> None:
        """Start from the liveliest neuron of the first test trial of a session."""
        session = self.sessions[self.choices["session"].value]
        trial = int(session.trials_of("test")[0])
        liveliest = int(session.traces[trial].var(axis=1).argmax())
        starts = {"trial": (trial, len(session.traces)), "neuron": (liveliest, len(session.neurons))}
        for name, (value, count) in starts.items():
            self.choices[name].unobserve(self.draw, "value")
            self.choices[name].max, self.choices[name].value = count - 1, value
            self.choices[name].observe(self.draw, "value")
        self.draw()

    def draw(self, _: object = None) -> None:
        """Draw what is chosen, and show it in place of what was shown."""
        chosen = {name: choice.value for name, choice in self.choices.items()}
        self.figure = draw_neuron(self.model, self.sessions[chosen.pop("session")], **chosen)
        plt.close(self.figure)  # or a notebook would show it once more
        if self.shown is not None:
            self.shown.update(self.figure)

    def _ipython_display_(self) -> None:
        """Choices above, the figure below: beside them, not in a widget, it is kept in a notebook as any picture is."""
        display(widgets.HBox(list(self.choices.values()), layout={"flex_flow": "row wrap"}))
        self.shown = display(self.figure, display_id=True)


def explore(model: CalM, sessions: Sequence[Session]) -> Explorer:
    """Look into a model, neuron by neuron; the last line of a notebook's cell.

    A: a trace, what its tokens keep of it, and some of the futures that may follow the context, with bands that hold
    half and nine tenths of all that were drawn. B: its tokens. C: all neurons of the session on the two main
    directions of their embeddings, and how much this neuron attends to each. D: what its nearest neurons do meanwhile.

    Args:
        model: trained.
        sessions: prepared, and known to the model.

    Raises:
        CalmError: no sessions, or one that the model does not know.
    """
    if not sessions:
        raise CalmError("There are no sessions to explore: name one or more that the model knows.")
    for session in sessions:
        model.check_known(session)
    return Explorer(model, {session.name: session for session in sessions})


def draw_neuron(model: CalM, session: Session, *, trial: int, neuron: int, rollouts: int) -> Figure:
    """The four panels of `explore`."""
    (scores,), (tokens,) = reconstruct(model.quantizer.model, session, np.array([trial]))
    true, kept = to_unit(session.neurons, [session.traces[trial], scores], "original")
    (futures,) = model.sample(session, np.array([trial]), samples=rollouts, unit="original")
    time, context = np.arange(true.shape[1]) / session.rate, model.profile.forecast.context
    seen = attention_of(model.transformer.model, session.name, tokens, neuron)
    with plt.rc_context():
        use_style()
        figure = plt.figure(figsize=(PAGE, 4.4))
        panels = figure.subplot_mosaic("AA;BB;CD", height_ratios=[4, 0.7, 4.5], width_ratios=[2, 3])
        panels["A"].plot(time[: kept.shape[1]], kept[neuron], color="0.6", lw=1.6, label="reconstruction")
        panels["A"].plot(time[context:], futures[:DRAWN, neuron].T, color=COLOURS["CalM"], lw=0.3, alpha=0.5)
        mean, names_of = {"CalM": futures[:, neuron].mean(axis=0)[None]}, [f"neuron {neuron}"]
        how = {"unit": session.unit, "context": context, "samples": futures[:, [neuron]]}
        example_traces([panels["A"]], time, true[[neuron]], mean, names_of, **how)
        token_strip(panels["B"], time[:: model.quantizer.model.config.window], tokens[neuron], scores[neuron])
        near = neuron_map(panels["C"], model.embeddings(session), seen, neuron)
        neighbour_traces(panels["D"], time, session.traces[trial][near], near)
        panels["B"].set_xlim(panels["A"].get_xlim())
        panels["A"].set_title(f"{session.name}, trial {trial} ({session.trials['split'][trial]})")
        letters(panels.values())
    return figure


@torch.no_grad()
def attention_of(
    model: DualAxisTransformer, session: str, tokens: Int[np.ndarray, "neuron token"], neuron: int
) -> Float[np.ndarray, " neuron"]:
    """How much a neuron attends to each: mean over tokens, heads and layers; 1 is an even share."""
    weights = []

    def keep(attention: NeuronAttention, inputs: tuple[Float[torch.Tensor, "token batch neuron channel"]]) -> None:
        key = attention.split(attention.key(inputs[0]))
        query = attention.split(attention.query(inputs[0][..., neuron, :]))[..., None, :, :]
        scores = (query * key).sum(-1) / key.shape[-1] ** 0.5
        weights.append(scores.softmax(dim=-2).mean(dim=(0, 1, 3)))

    hooks = [layer.neuron.register_forward_pre_hook(keep) for layer in model.layers]
    device, everyone = model.tokens.device, torch.arange(len(tokens))
    model.features(TokenBatch(session, everyone.to(device), torch.from_numpy(tokens)[None].to(device)))
    for hook in hooks:
        hook.remove()
    return len(tokens) * torch.stack(weights).mean(dim=0).cpu().numpy()


def token_strip(
    axes: Axes,
    starts: Float[np.ndarray, " _token"],
    tokens: Int[np.ndarray, " token"],
    trace: Float[np.ndarray, " _frame"],
) -> None:
    """Tokens in a row, each with its number, coloured by the mean of the frames that it stands for."""
    levels = trace.reshape(len(tokens), -1).mean(axis=1)
    edges = np.append(starts, starts[-1] + starts[1])[: len(tokens) + 1]
    axes.pcolormesh(edges, [0, 1], levels[None], cmap="vlag", vmin=-3, vmax=3)
    for edge, token in zip(edges, tokens, strict=False):
        axes.text(edge + starts[1] / 2, 0.5, token, ha="center", va="center", fontsize=5)
    axes.set(yticks=[], ylabel="tokens", xticks=[])


def neuron_map(
    axes: Axes, embeddings: Float[np.ndarray, "neuron channel"], seen: Float[np.ndarray, " neuron"], neuron: int
) -> Int[np.ndarray, " neighbour"]:
    """Neurons by their embeddings, coloured by attention. Returns one of them and its nearest, which have rings."""
    distances = np.linalg.norm(embeddings - embeddings[neuron], axis=1)
    near = np.argsort(distances, kind="stable")[: NEIGHBOURS + 1]
    centred = embeddings - embeddings.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    places = (centred @ directions[:, [-1, -2]]).T
    dots = axes.scatter(*places, c=seen, cmap="viridis", s=14, lw=0)
    axes.figure.colorbar(dots, ax=axes, label="attention (1: even share)")
    for place, each in enumerate(near):
        colour = CHOSEN if each == neuron else f"C{place}"
        axes.scatter(*places[:, each], s=45, facecolors="none", edgecolors=colour, lw=1)
    axes.set(xlabel="embedding, main direction", ylabel="second direction", xticks=[], yticks=[])
    return near


def neighbour_traces(
    axes: Axes,
    time: Float[np.ndarray, " frame"],
    traces: Float[np.ndarray, "neighbour frame"],
    neurons: Int[np.ndarray, " neighbour"],
) -> None:
    """One neuron on top and its nearest ones below it, in z-scores."""
    step = 4  # z-scores from one trace to the next
    for place, trace in enumerate(traces):
        axes.plot(time, trace - step * place, color=f"C{place}" if place else CHOSEN, lw=0.8)
    axes.set_yticks(-step * np.arange(len(traces)), neurons)
    axes.set(xlabel="time in trial (s)", ylabel="neuron, and\nits nearest")
    axes.margins(x=0)
