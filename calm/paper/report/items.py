"""The figures and tables of the paper, in its order, and where our own further results belong among them."""

import dataclasses
from collections.abc import Iterable

SIMULATION, FORECASTING, DECODING = "01_simulation", "04_forecasting", "05_decoding"
EMBEDDINGS, ABLATIONS = "06_embeddings", "08_ablations"


@dataclasses.dataclass(frozen=True)
class Item:
    """A figure or table of the paper (spec 7).

    Attributes:
        name: of its files in `figures/<profile>/`, as `fig3b`.
        title: in a few words.
        caption: what it shows, and what to look at.
        notebook: that makes it; empty for tables that the report renders from the configs.
        scored: whether its numbers are results; those of examples and counts are not.
    """

    name: str
    title: str
    caption: str
    notebook: str = ""
    scored: bool = True

    @property
    def label(self) -> str:
        """As the paper calls it: Fig. 3B, Table 7."""
        return f"Fig. {self.name[3:].upper()}" if self.name.startswith("fig") else f"Table {self.name[5:]}"

    @property
    def heading(self) -> str:
        """Label and title."""
        return f"{self.label}. {self.title}"


ITEMS = (
    Item(
        "fig1b",
        "Reconstruction from tokens",
        "Correlation of a trace with what its tokens keep of it, on all six splits. Look whether held-out mice reach"
        " the height of held-in ones.",
        "02_tokenizer",
    ),
    Item(
        "fig1c",
        "Traces and their reconstruction",
        "Example traces over their reconstruction. Look at fast transients, where a loss would show first.",
        "02_tokenizer",
        scored=False,
    ),
    Item(
        "fig3b",
        "Forecasts, simulation",
        "Correlation of forecasts with the traces of simulated networks. Look at the distance to the ceilings, which no"
        " forecaster can pass, and at the linear model.",
        SIMULATION,
    ),
    Item(
        "fig3c",
        "Forecasts, single recordings",
        "Every method trained on one recording alone. Look how CalM compares with methods that are made for that, and"
        " with the mean trial, which is what the task alone explains.",
        FORECASTING,
    ),
    Item(
        "fig3d",
        "Forecasts, many recordings",
        "One CalM and one POCO for all recordings. Look at held-out mice, of which both learn nothing but embeddings.",
        FORECASTING,
    ),
    Item(
        "fig3e",
        "Example forecasts, simulation",
        "The true trace after the context, and what the methods forecast. Look whether forecasts follow single"
        " transients or run to the mean.",
        SIMULATION,
        scored=False,
    ),
    Item("fig3f", "Example forecasts, recordings", "The same on a trial of a recording.", FORECASTING, scored=False),
    Item(
        "fig4b",
        "Decoding, single recordings",
        "Behaviour decoded from CalM's features by a linear and a GLU head, and by other decoders from the traces. Look"
        " at each channel by itself: the paper's order of methods differs between them.",
        DECODING,
    ),
    Item(
        "fig4c",
        "Decoding, many recordings",
        "By how much the GLU head is above POYO+. The paper does not say whether its gains are relative or in points of"
        " R2.",
        DECODING,
    ),
    Item("fig4d", "Example decoding", "True and decoded behaviour of one trial.", DECODING, scored=False),
    Item(
        "fig5a",
        "Tuned neurons in the plane of principal components",
        "Embeddings of neurons tuned to cue or choice. Look whether the signs of tuning lie apart.",
        EMBEDDINGS,
    ),
    Item(
        "fig5b",
        "Gradients of tuning",
        "The plane of a linear discriminant analysis (LDA), and in it the direction along which each tuning grows. Look"
        " at neurons that were left out of the fit, and at the angle between the two.",
        EMBEDDINGS,
    ),
    Item(
        "fig5c",
        "Low-dimensional dynamics",
        "True and forecast activity on principal components. Look at the distance to POCO and to shuffled trials.",
        "07_dynamics",
    ),
    Item(
        "fig6a",
        "Mouse from session embeddings",
        "Which mouse a session embedding is taken for. Look at the diagonal, beside the size of the largest class.",
        EMBEDDINGS,
    ),
    Item("fig6b", "Area from session embeddings", "The same for the cortical area.", EMBEDDINGS),
    Item(
        "fig7a",
        "Shuffle of the first gradient",
        "Strength of the gradient of the first variable with shuffled labels, and as observed. Look where the observed"
        " one lies.",
        EMBEDDINGS,
    ),
    Item("fig7b", "Shuffle of the second gradient", "The same for the second variable.", EMBEDDINGS),
    Item("fig8a", "Principal components, held-out mice", "As Fig. 5A, on mice that were held out.", EMBEDDINGS),
    Item("fig8b", "Gradients, held-out mice", "As Fig. 5B, on mice that were held out.", EMBEDDINGS),
    Item("fig8c", "Shuffles, held-out mice", "As Fig. 7, on mice that were held out.", EMBEDDINGS),
    Item(
        "table1",
        "Recordings by mouse",
        "How many sessions and neurons, and how long trials are.",
        "00_data",
        scored=False,
    ),
    Item("table2", "Recordings by area", "The same by cortical area.", "00_data", scored=False),
    Item("table3", "Settings of the forecasters", "Values of this profile and of profile paper; in bold what differs."),
    Item("table4", "Settings of the decoders", "As Table 3. The heads are CalM's, and not in the paper's table."),
    Item("table5", "Settings of the quantizer", "As Table 3."),
    Item("table6", "Settings of the transformer", "As Table 3."),
    Item(
        "table7",
        "Parts of the quantizer",
        "Forecasts of models trained without one part. Look at the size of a difference beside its spread.",
        ABLATIONS,
    ),
    Item("table8", "Strategies of the transformer", "As Table 7, without one of the training strategies.", ABLATIONS),
    Item(
        "table9",
        "Mouse, area and layer from embeddings",
        "Accuracy of a logistic regression. Look at it beside shuffled labels and the largest class.",
        EMBEDDINGS,
    ),
)
# Titles and captions of our own results, by name or by what follows the item's name; without one the name stands alone.
EXTRAS = {
    "cost": (
        "What the methods cost",
        "Training: of the weights that were kept, validation included; search: of all tries together. Wall time on the"
        " device named above.",
    ),
    "fading": ("How forecasts fade", "Correlation by the time since the end of the context."),
    "scale": (
        "What it takes",
        "Read-out of tuning from embeddings, and forecasts, of transformers trained with less of one thing. Look"
        " whether lines still rise at their right end.",
    ),
    "read_out": (
        "What else the embeddings tell",
        "Correlation of each property of left-out neurons with what a ridge regression reads out of their embeddings,"
        " and the central 95 % of what it reads out for shuffled neurons.",
    ),
    "example": ("One trial", "A test trial on its first principal components: true, and as forecast."),
    "kinds": (
        "Telling trials apart",
        "Two kinds of trials told apart by logistic regression on features averaged over each trial, beside shuffled"
        " labels.",
    ),
    "labels": ("How few labels are enough", "Decoders that were given the behaviour of a share of the trials only."),
    "fig6_layer": ("Layer from session embeddings", "As Fig. 6A for the layer; the paper does not draw it."),
    "pretraining_gap": (
        "The gap between training and use",
        "Cross-entropy of the next token and correlation of forecasts, given the true tokens or the model's own.",
    ),
    "adaptation": ("Adaptation to held-out subjects", "Forecasts before and after their embeddings were trained."),
    "data_task": ("The task", "Choices of one session."),
    "data_session": ("Traces and behaviour", "A few trials in a row."),
    "data_preparation": ("Preparation of traces", "One trace as recorded, smoothed and scaled."),
    "data_averages": ("Mean traces by cue and choice", "Neurons picked for differing between the kinds of trial."),
    "data_truth": ("Truth of the synthetic cohort", "What drives its neurons."),
}


def title_of(extra: str) -> tuple[str, str]:
    """Title and caption of one of our own results; the name itself and nothing where there are none."""
    suffix = extra.split("_", 1)[-1]
    return EXTRAS.get(extra) or EXTRAS.get(suffix) or (suffix.replace("_", " ").capitalize(), "")


def owner(extra: str) -> str:
    """The item that a result of our own is put after, as `fig3b` for `fig3b_cost`; empty beyond the paper.

    `fig6_layer`, which names a figure but none of its panels, is put after the last of them.
    """
    first = extra.split("_")[0]
    panels = [item.name for item in ITEMS if item.name == first or (first + "a" <= item.name <= first + "z")]
    return panels[-1] if panels else ""


def extras_of(item: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that are put after an item, by name; `item` may be empty, see `owner`."""
    known = {item.name for item in ITEMS}
    return sorted(name for name in set(names) - known if owner(name) == item)
