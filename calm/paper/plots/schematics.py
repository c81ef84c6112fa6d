"""Schematics of the method, from the settings of a profile and the shapes of its modules (Fig. 1A, 2, 3A, 4A).

`python -m calm.paper.plots.schematics` draws the README's, `figures/schematics/overview.svg`, anew.
"""

import dataclasses
import functools
import io

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import SVG
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from scipy.cluster.vq import kmeans2

from calm.config.models import DATConfig
from calm.config.synthetic import SimulationConfig
from calm.models.heads import GLUHead, LinearHead
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer
from calm.paper.plots import GREY, use_style
from calm.paper.plots.sketch import BLUE, Box, Sketch
from calm.paths import FIGURES, ensure_writable
from calm.profile import Profile, load_profile
from calm.synthetic.simulation import simulate

WIDTH = 174.0  # mm: two columns of a journal page
KINDS = 16  # of windows of the example, which stand in for the codes of a trained quantizer
BEHAVIOURS = 3


@dataclasses.dataclass(frozen=True)
class Example:
    """Some neurons of a simulated network: traces, the kind of each window, and the mean window of that kind."""

    traces: Float[np.ndarray, "neuron frame"]
    codes: Int[np.ndarray, "neuron token"]
    kept: Float[np.ndarray, "neuron frame"]


@functools.cache
def example(window: int, tokens: int = 12, neurons: int = 6) -> Example:
    """A trial of a network (Eq. 1, 17, 18), its windows grouped by k-means; kinds are in the order of their mean."""
    config = SimulationConfig(trials=30, neurons=40, frames=window * tokens + 40)
    traces = np.stack(simulate(config, 0).session.traces)[:, :, 40:]
    windows = traces.reshape(-1, window)
    means, kinds = kmeans2(windows, KINDS, minit="++", rng=0)
    rank = np.argsort(np.argsort(means.mean(axis=1)))
    shape = (*traces.shape[:2], tokens)
    liveliest = np.argsort(traces[0].var(axis=1))[::-1][:neurons]
    kept = means[kinds].reshape(traces.shape)
    return Example(traces[0, liveliest], rank[kinds].reshape(shape)[0, liveliest], kept[0, liveliest])


def overview(profile: Profile) -> Figure:
    """The whole method: traces to tokens, tokens to the next ones, and what is read off (Fig. 1A)."""
    window, codes = profile.quantizer.window, profile.quantizer.codes
    shown, sketch = example(window), Sketch(WIDTH, 66)
    traces = sketch.traces(Box(4, 22, 30, 32), shown.traces)
    quantizer = sketch.box(Box(40, 27, 22, 22), "neural\nquantizer\n(NQ)")
    tokens = sketch.tokens(Box(68, 26, 30, 24), shown.codes, KINDS)
    transformer = sketch.box(Box(104, 27, 24, 22), "dual-axis\ntransformer\n(DAT)")
    embeddings = sketch.box(Box(102, 9, 28, 9), "neuron and session\nembeddings", "session", 6)
    decoder = sketch.box(Box(136, 47, 14, 9), "NQ\ndecoder", size=6)
    heads = sketch.box(Box(136, 33.5, 14, 9), "heads", size=6)
    sketch.arrow((traces.right[0] + 1.5, 38), quantizer.left)
    for start, stop in ((quantizer, tokens), (tokens, transformer), (transformer, heads)):
        sketch.arrow(start.right, stop.left)
    sketch.arrow(embeddings.top, transformer.bottom)
    sketch.arrow((128, 44), (132, 44), (132, decoder.left[1]), decoder.left)
    for box, words in ((decoder, "forecasts of\nall neurons"), (heads, "behaviour"), (embeddings, "")):
        sketch.arrow(box.right, (154, box.right[1]))
        sketch.text((155, box.right[1]), words, ha="left")
    sketch.text((155, embeddings.right[1]), "tuning,\nmouse, area", ha="left")
    for x, words in ((51, "1  learn a vocabulary"), (116, "2  predict the next token"), (155, "3  use it, frozen")):
        sketch.text((x, 62), words, size=8, weight="bold")
    sketch.text((19, 17), "calcium traces of\nN neurons, T frames", size=6)
    sketch.text((83, 21), f"a token for {window} frames:\none of {codes} codes", size=6)
    sketch.meanings(4, 4)
    return sketch.figure


def quantizer(profile: Profile) -> Figure:
    """The neural quantizer: encoder, codebook, decoder, causal head, and where its losses are (Fig. 2)."""
    config, sketch = profile.quantizer, Sketch(WIDTH, 80)
    with torch.device("meta"):
        model = NeuralQuantizer(config)
    heads = f"{config.heads} heads, RoPE"
    embed = sketch.box(Box(47, 55, 17, 14), f"linear map\n{in_and_out(model.embed)}")
    encoder = sketch.box(Box(70, 55, 25, 14), f"encoder\n{len(model.encoder)} causal blocks\n{heads}", size=6)
    head = sketch.box(Box(70, 34, 25, 12), f"causal head\n{len(model.predictor.blocks)} blocks", size=6)
    decoder = sketch.box(Box(70, 14, 25, 14), f"decoder\n{len(model.decoder)} causal blocks\n{heads}", size=6)
    frames = sketch.box(Box(47, 14, 17, 14), f"linear map\n{in_and_out(model.to_frames[-1])}")
    codebook = draw_codebook(sketch, model, example(config.window))
    draw_reconstruction(sketch, example(config.window))
    for start, stop in ((41, embed.left), (64, encoder.left), (95, (codebook.x, 62)), (130, (137, 62))):
        sketch.arrow((start, 62), stop)
    for start, stop in ((codebook.x, decoder.right), (70, frames.right), (47, (41.5, 21))):
        sketch.arrow((start, 21), stop)
    sketch.arrow(encoder.bottom, head.top, dashed=True)
    sketch.text((102.5, 65), "$x_t$")
    sketch.text((102.5, 24), "$e_{i_t}$")
    sketch.text((57, 40), f"next {model.predictor.horizon.shape[0]} tokens:\n$L_{{AR}}$ (Eq. 9)")
    sketch.text((82.5, 9), "its gradient passes straight through to $x_t$", size=6)
    sketch.text((71, 74), f"{config.window} frames make a token, which depends on no later frame", size=6)
    sketch.meanings(133, 9, ["shared"])
    return sketch.figure


def in_and_out(layer: torch.nn.Module) -> str:
    """Numbers in and out of a linear map."""
    return f"{layer.in_features} → {layer.out_features}"


def draw_codebook(sketch: Sketch, model: NeuralQuantizer, shown: Example) -> Box:
    """The codebook, the tokens that come out of it, and what its losses ask for."""
    codebook = sketch.box(Box(110, 13, 20, 56))
    for row in range(KINDS):
        sketch.tokens(Box(118.5, 26 + 2 * row, 3, 2), np.array([[KINDS - 1 - row]]), KINDS)
    sketch.text((120, 63), "codebook")
    sketch.text((120, 19), "{} codes\nof {} numbers".format(*model.codebook.vectors.shape), size=6)
    sketch.tokens(Box(137, 60.5, 33, 33 / shown.codes.shape[1]), shown.codes[:1], KINDS)
    sketch.text((153.5, 68), "tokens $i_t = $arg min$_j\\,|x_t - e_j|^2$")
    losses = ("$L_c$ (Eq. 5): $x_t$ and its code meet", "$L_{ent}$ (Eq. 6): all codes are used")
    for place, words in enumerate((*losses, "$L_{orth}$ (Eq. 7): codes differ")):
        sketch.text((133, 47 - 6 * place), words, size=6, ha="left")
    return codebook


def draw_reconstruction(sketch: Sketch, shown: Example) -> None:
    """A trace in its windows, what is kept of it, and the loss that compares the two."""
    trace, below = Box(5, 54, 36, 16), Box(5, 13, 36, 16)
    edges = trace.x + np.linspace(0, trace.width, shown.codes.shape[1] + 1)
    for edge in edges[:-1:2]:
        sketch.axes.fill_between([edge, edge + edges[1] - edges[0]], trace.y, trace.top[1], color="0.93", lw=0)
    sketch.traces(trace, shown.traces[:1])
    sketch.traces(below, shown.traces[:1], color=GREY)
    sketch.traces(below, shown.kept[:1], color=BLUE, like=shown.traces[:1])
    sketch.arrow((23, 52.5), (23, 46), dashed=True)
    sketch.arrow((23, 31), (23, 38.5), dashed=True)
    sketch.text((23, 74), "trace $y$ of a neuron")
    sketch.text((23, 42.2), "$L_r$ (Eq. 4)")
    sketch.text((23, 9), "reconstruction $\\hat y$ (blue)")


def transformer(profile: Profile) -> Figure:
    """The dual-axis transformer: its input, one layer with both axes of attention, and the rollout (Fig. 3A)."""
    codes, sketch = profile.quantizer.codes, Sketch(WIDTH, 86)
    with torch.device("meta"):
        model = DualAxisTransformer(profile.dat, torch.empty(codes, profile.quantizer.width), {"": 6})
    embeddings, boxes = draw_embeddings(sketch, model, example(profile.quantizer.window)), draw_layer(sketch, model)
    out = sketch.box(Box(145, 50, 23, 13), f"norm, token table:\nprobabilities of\nN × {codes} codes", size=6)
    decoder = sketch.box(Box(145, 8, 23, 11), "NQ decoder")
    for part in embeddings:
        sketch.arrow(part.right, (65, part.right[1]), (65, 56.5), boxes[0].left)
    for start, stop in zip(boxes, [*boxes[1:], out], strict=True):
        sketch.arrow(start.right, stop.left)
    sketch.arrow(out.bottom, (out.bottom[0], 31), (33.5, 31), (33.5, 45.5))
    sketch.arrow((out.bottom[0], 31), decoder.top)
    sketch.arrow(decoder.left, (129, decoder.left[1]))
    sketch.text((128, decoder.left[1]), "forecast traces", ha="right")
    sketch.text((84, 34), "rollout: the chosen token of every neuron is the next input", size=6)
    sketch.text((156.5, 66.5), "loss: Eq. 11", size=6)
    for line, words in enumerate(corruptions(profile.dat)):
        sketch.text((5, 23 - 4 * line), words, size=6, ha="left")
    sketch.meanings(5, 5)
    return sketch.figure


def draw_embeddings(sketch: Sketch, model: DualAxisTransformer, shown: Example) -> list[Box]:
    """Tokens, two of them yet to come, and the three embeddings that make the input."""
    sketch.tokens(Box(5, 46, 30, 24), np.pad(shown.codes[:, :8], ((0, 0), (0, 2))), KINDS, future=2)
    table = sketch.box(Box(41, 63, 20, 9), "token table\n{} × {}".format(*model.tokens.shape), size=6)
    neuron = sketch.box(Box(41, 52, 20, 9), f"neuron\nN × {model.neuron_embeddings[0].shape[1]}", "session", 6)
    session = sketch.box(Box(41, 41, 20, 9), f"session\n1 × {len(model.session_embeddings[0])}", "session", 6)
    sketch.arrow((36, 58), (38.5, 58), (38.5, table.left[1]), table.left)
    sketch.text((20, 74), "tokens of N neurons")
    sketch.text((51, 76.5), "embeddings, added\n(Eq. 10)", size=6)
    return [table, neuron, session]


def corruptions(config: DATConfig) -> tuple[str, str, str]:
    """What is done to the input in training, in words."""
    apart = config.corruption == "losses"
    return (
        "in training, two more losses, with (Eq. 14):" if apart else "in training, the input is corrupted:",
        f"up to {config.block} steps replaced by predictions (p = {config.scheduled_sampling:g}, Eq. 12)",
        f"tokens replaced by one of {config.neighbours} like them (p = {config.replacement:g}, Eq. 13)",
    )


def draw_layer(sketch: Sketch, model: DualAxisTransformer) -> list[Box]:
    """A layer, its parts in the order of the settings, and above each axis of attention what a token sees along it."""
    config = model.config
    over_neurons, over_time = np.zeros((2, 6, 8), int)
    over_neurons[:, 5], over_time[2, :6] = 1, 1
    over_neurons[2, 5] = over_time[2, 5] = 2
    axes = {"neurons": over_neurons, "time, causal": over_time}
    order = ["time, causal", "neurons"] if config.time_first else ["neurons", "time, causal"]
    boxes = []
    for place, axis in enumerate(order):
        x = 72 + 24 * place
        sketch.cells(Box(x + 1, 65, 18, 12), axes[axis])
        boxes.append(sketch.box(Box(x, 50, 20, 13), f"attention over\n{axis}\n{config.heads} heads", size=6))
    sizes = f"{config.width} → {config.ffn}\n→ {config.width}"
    boxes.append(sketch.box(Box(120, 50, 17, 13), f"feed-forward\n{sizes}", size=6))
    sketch.frame(Box(69, 40, 71, 40), f"{len(model.layers)} layers")
    sketch.text((104.5, 44.5), "each part is normalised before and added to what it got", size=6)
    return boxes


def heads(profile: Profile) -> Figure:
    """The two behaviour heads on the frozen transformer (Fig. 4A)."""
    config, window, width = profile.head, profile.quantizer.window, profile.dat.width
    with torch.device("meta"):
        linear, gated = (kind(config, width, window, BEHAVIOURS, {"": 6}) for kind in (LinearHead, GLUHead))
    sketch = Sketch(WIDTH, 74)
    outputs, rank, channels = linear.mixing.shape
    hidden = gated.values.shape[1]
    backbone = sketch.box(Box(4, 32, 21, 20), "transformer,\nfrozen\n(Fig. 3A)")
    mixing = sketch.box(Box(48, 55, 24, 10), f"$B_1$: {channels} → {outputs} × {rank}", size=6)
    bank = sketch.box(Box(88, 55, 24, 10), f"$B_2$: {outputs} × {rank}\nfor each neuron", "session", 6)
    values = sketch.box(Box(48, 28, 20, 10), f"$B_3$: {channels} → {hidden}", size=6)
    gates = sketch.box(Box(48, 14, 20, 10), f"$B_4$: {channels} → {hidden}\nGELU", size=6)
    rows = sketch.box(Box(88, 21, 24, 10), f"$B_5$: {outputs} × {rank}\nfor each neuron", "session", 6)
    total = sketch.box(Box(122, 37, 18, 10), "sum over\nneurons", "data")
    smooth = sketch.box(Box(145, 36, 22, 12), f"convolution\nover {linear.smooth.weight.shape[-1]} frames", size=6)
    for part in (mixing, values, gates):
        sketch.arrow(backbone.right, (43, 42), (43, part.left[1]), part.left)
    sketch.arrow(mixing.right, bank.left)
    for part, edge in ((values, 28.5), (gates, 23.5)):
        sketch.arrow(part.right, (75, part.right[1]), (75, edge))
    sketch.text((75, 26), "×", size=9)
    sketch.arrow((77.5, 26), rows.left)
    sketch.text((82, 28), "dropout", size=6)
    for part in (bank, rows):
        sketch.arrow(part.right, (117, part.right[1]), (117, 42), total.left)
    sketch.arrow(total.right, smooth.left)
    sketch.arrow(smooth.bottom, (smooth.bottom[0], 29))
    sketch.text((156, 26.5), "behaviour")
    sketch.text((156, 22), f"knows {config.look_ahead} later frames", size=6)
    sketch.text((131, 35), f"{outputs} numbers are\n{window} frames of {BEHAVIOURS}\nchannels", size=6, va="top")
    sketch.text((34, 43.5), f"features $h$:\nN × T/{window} × {channels}", size=6, va="bottom")
    sketch.text((48, 68.5), "linear head (Eq. 15)", weight="bold", ha="left")
    sketch.text((48, 41.5), "or GLU head (Eq. 16)", weight="bold", ha="left")
    sketch.meanings(5, 5)
    return sketch.figure


DRAWINGS = {"overview": overview, "quantizer": quantizer, "transformer": transformer, "heads": heads}


def schematic(name: str, profile: str = "paper") -> SVG:
    """One of DRAWINGS with the sizes of a profile, as vector graphics whose letters are shapes: no font is needed."""
    use_style()
    figure, file = DRAWINGS[name](load_profile(profile)), io.StringIO()
    with plt.rc_context({"svg.fonttype": "path", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None})  # the same bytes in every run
    plt.close(figure)
    return SVG(file.getvalue())


if __name__ == "__main__":
    folder = ensure_writable(FIGURES / "schematics")
    (folder / "overview.svg").write_text(schematic("overview").data)
