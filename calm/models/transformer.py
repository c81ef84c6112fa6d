"""The dual-axis transformer, DAT: predicts the next token of every neuron (Sec. 3.2, Eq. 10-14, Table 6)."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from calm.config.models import DATConfig, DualAxisConfig
from calm.models.interfaces import Trainable
from calm.models.layers import Cache, FeedForward, NeuronAttention, TimeAttention, init_weights
from calm.models.loadings import Loadings


@dataclasses.dataclass  # not frozen: Fabric moves it to the device field by field
class TokenBatch:
    """Trials of one session with equally many tokens, so that nothing is padded or masked.

    Attributes:
        session: its name.
        neurons: which neurons of the session the rows are.
        tokens: their codes, or weights over all codes where a rollout feeds back an expectation.
    """

    session: str
    neurons: Int[Tensor, " neuron"]
    tokens: Int[Tensor, "batch neuron token"] | Float[Tensor, "batch neuron token code"]


class DualAxisLayer(nn.Module):
    """Attention over neurons, causal attention over time, feed-forward map; each normalised before and added after."""

    def __init__(self, config: DualAxisConfig):
        super().__init__()
        self.time_first = config.time_first
        self.norm_time = nn.LayerNorm(config.width, bias=False)
        self.time = TimeAttention(config.width, config.heads)
        self.norm_neuron = nn.LayerNorm(config.width, bias=False)
        self.neuron = NeuronAttention(config.width, config.heads)
        self.norm_ffn = nn.LayerNorm(config.width, bias=False)
        self.ffn = FeedForward(config.width, config.ffn)
        self.drop = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "token batch neuron channel"], cache: Cache | None = None
    ) -> Float[Tensor, "token batch neuron channel"]:
        """One layer; `cache` holds earlier tokens for the time axis, the neuron axis needs none."""
        x = self.attend_time(x, cache) if self.time_first else self.attend_neurons(x)
        x = self.attend_neurons(x) if self.time_first else self.attend_time(x, cache)
        return x + self.drop(self.ffn(self.norm_ffn(x)))

    def attend_time(
        self, x: Float[Tensor, "token batch neuron channel"], cache: Cache | None
    ) -> Float[Tensor, "token batch neuron channel"]:
        """Each neuron looks back over its own tokens."""
        return x + self.drop(self.time(self.norm_time(x), cache))

    def attend_neurons(
        self, x: Float[Tensor, "token batch neuron channel"]
    ) -> Float[Tensor, "token batch neuron channel"]:
        """The neurons of a time step look at each other."""
        return x + self.drop(self.neuron(self.norm_neuron(x)))


def random_block(length: int, longest: int) -> slice:
    """Which steps of an input scheduled sampling replaces: neighbours at random, but never the first (Eq. 12)."""
    size = min(longest, length - 1)
    start = int(torch.randint(1, length - size + 1, ()))
    return slice(start, start + size)


def before(block: slice) -> slice:
    """The steps whose predictions are of the steps of a block."""
    return slice(block.start - 1, block.stop - 1)


def nearest_codes(vectors: Float[Tensor, "code channel"], count: int) -> Int[Tensor, "code neighbour"]:
    """The `count` nearest other codes of each code by cosine similarity (Eq. 13)."""
    similarity = F.normalize(vectors, dim=-1) @ F.normalize(vectors, dim=-1).T
    return similarity.fill_diagonal_(-torch.inf).topk(min(count, len(vectors) - 1)).indices


def of_unit_variance(vectors: Float[Tensor, "code channel"]) -> Float[Tensor, "code channel"]:
    """Codes around their mean, from which they are 1 away in the root mean square."""
    centred = vectors - vectors.mean(0)
    return centred / centred.square().sum(-1).mean().sqrt()


def project_codes(vectors: Float[Tensor, "code channel"], width: int) -> Float[Tensor, "code width"]:
    """A random projection of the standardised codes, as the token table's start: codes that are alike begin alike.

    The paper does not give an initialisation. From independent random vectors the coupling between neurons is learned
    several times later (validation forecast after 20 passes over 50 simulated neurons: 0.23 against 0.50).
    """
    standard = (vectors - vectors.mean(0)) / vectors.std()
    return standard @ torch.randn(vectors.shape[1], width) / vectors.shape[1] ** 0.5


class KnowsLoadings(Trainable):
    """A model that adds loadings to neuron embeddings, and has both kinds of embeddings for each session.

    Attributes:
        index: place of each session, by name.
        loadings: of their neurons.
    """

    session_parameters = ("neuron_embeddings.", "session_embeddings.", "loadings.")
    index: dict[str, int]
    loadings: Loadings

    def introduce(self, session: str, traces: Sequence[Float[np.ndarray, "neuron _frame"]]) -> None:
        """Neurons that are active together have like loadings, if the config asks for any."""
        self.loadings.see(self.index[session], traces)

    def unintroduced(self) -> contextlib.AbstractContextManager[bool]:
        """For a while without loadings; whether there were any."""
        return self.loadings.hidden()

    def freeze(self) -> None:
        """Train nothing from now on but what belongs to sessions; only the trunk could learn to do without loadings."""
        super().freeze()
        self.loadings.dropout = 0.0


class DualAxisTransformer(KnowsLoadings):
    """Input embeddings, dual-axis layers, and logits tied to the token table.

    Args:
        config: sizes and corruption of the training input.
        vectors: the quantizer's codes; they define which tokens are neighbours, and the start of the token table.
        sessions: number of neurons of each session; each has its own parameters, so the cost of a step does not grow
            with the corpus.
    """

    def __init__(self, config: DATConfig, vectors: Float[Tensor, "code channel"], sessions: Mapping[str, int]):
        super().__init__()
        self.config = config
        self.register_buffer("neighbours", nearest_codes(vectors, config.neighbours))
        self.register_buffer("codes", of_unit_variance(vectors), persistent=False)
        self.tokens = nn.Parameter(project_codes(vectors, config.width))
        self.index: dict[str, int] = {}
        self.neuron_embeddings, self.session_embeddings = nn.ParameterList(), nn.ParameterList()
        self.loadings = Loadings(config.width, config.loadings, config.loadings_dropout)
        self.layers = nn.ModuleList(DualAxisLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, bias=False)
        init_weights(self, 3 * config.layers)
        for name, neurons in sessions.items():
            self.add_session(name, neurons)

    def add_session(self, name: str, neurons: int) -> None:
        """Give a session its neuron and session embeddings (the latter starts at zero), and place for loadings."""
        self.index[name] = len(self.index)
        self.neuron_embeddings.append(nn.Parameter(torch.randn(neurons, self.config.width) * self.config.embedding_sd))
        self.session_embeddings.append(nn.Parameter(torch.zeros(self.config.width)))
        self.loadings.add_session(neurons)

    def add_sessions_of(self, other: "DualAxisTransformer") -> None:
        """Know the other sessions of a model with the same trunk too, just as it knows them."""
        new = [name for name in other.index if name not in self.index]
        for name in new:
            self.add_session(name, other.neuron_counts[name])
            self.neuron_embeddings[-1].requires_grad_(False)
            self.session_embeddings[-1].requires_grad_(False)
        self.load_state_dict(other.state_of({name: self.index[name] for name in new}), strict=False)

    def state_of(self, places: Mapping[str, int]) -> dict[str, Tensor]:
        """What belongs to some of its sessions, as the state of a model that knows them at these places."""
        known = self.state_dict()
        return {
            f"{kind}{place}": known[f"{kind}{self.index[name]}"]
            for kind in self.session_parameters
            for name, place in places.items()
        }

    @property
    def neuron_counts(self) -> dict[str, int]:
        """The number of neurons of each session that it knows."""
        return {name: len(self.neuron_embeddings[index]) for name, index in self.index.items()}

    def embed(self, batch: TokenBatch) -> Float[Tensor, "token batch neuron channel"]:
        """Token + neuron + session embedding (Eq. 10) + loadings, which the paper does not have."""
        index = self.index[batch.session]
        # Look-ups, not indices: the gradient of an index differs from run to run on more than one thread.
        everyone = self.neuron_embeddings[index] + self.loadings.of(index)
        who = F.embedding(batch.neurons, everyone) + self.session_embeddings[index]
        if batch.tokens.is_floating_point():
            return batch.tokens.movedim(2, 0) @ self.tokens + who
        return F.embedding(batch.tokens.movedim(2, 0), self.tokens) + who

    def features(
        self, batch: TokenBatch, caches: list[Cache] | None = None
    ) -> Float[Tensor, "token batch neuron channel"]:
        """Activations after the last norm; with caches (one a layer), `batch` holds the newest tokens only."""
        x = self.embed(batch)
        for layer, cache in zip(self.layers, caches or [None] * len(self.layers), strict=True):
            x = layer(x, cache)
        return self.norm(x)

    def forward(self, batch: TokenBatch, caches: list[Cache] | None = None) -> Float[Tensor, "token batch neuron code"]:
        """Logits of the token after each token (Eq. 11)."""
        return self.features(batch, caches) @ self.tokens.T / self.config.width**0.5

    def next_token_loss(self, inputs: TokenBatch, targets: Int[Tensor, "batch neuron token"]) -> Float[Tensor, ""]:
        """The loss of the clean targets given (possibly corrupted) inputs; see `prediction_losses`."""
        return self.prediction_losses(self(inputs), targets)["loss"]

    def prediction_losses(
        self, logits: Float[Tensor, "token batch neuron code"], tokens: Int[Tensor, "batch neuron token"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Cross-entropy of the token after each token, L_CE (Eq. 11); `loss` adds the expected code's squared error.

        The paper has the former only, to which a code next to the right one is as wrong as any other. Where little can
        be told of the next token, the latter learns much sooner what can: how its expectation moves.
        """
        logits, targets = logits[:-1], tokens[..., 1:].permute(2, 0, 1)
        cross_entropy = loss = F.cross_entropy(logits.flatten(0, 2), targets.flatten())
        if self.config.weight_expected:
            error = logits.softmax(-1) @ self.codes - F.embedding(targets, self.codes)
            loss = cross_entropy + self.config.weight_expected * error.square().sum(-1).mean()
        return {"loss": loss, "cross_entropy": cross_entropy}

    def training_loss(self, batch: TokenBatch) -> dict[str, Float[Tensor, ""]]:
        """The objective in the form that the config names; see `corrupted_input_loss` and `three_losses`."""
        return self.three_losses(batch) if self.config.corruption == "losses" else self.corrupted_input_loss(batch)

    def corrupted_input_loss(self, batch: TokenBatch) -> dict[str, Float[Tensor, ""]]:
        """The authors' code: one loss, its input corrupted in both ways, the first on a share of the steps."""
        tokens = batch.tokens
        if self.toss():
            with torch.no_grad():
                tokens = self.feed_back(tokens, self(batch))
        inputs = dataclasses.replace(batch, tokens=self.replace_neighbours(tokens))
        return self.prediction_losses(self(inputs), batch.tokens)

    def three_losses(self, batch: TokenBatch) -> dict[str, Float[Tensor, ""]]:
        """The paper: L_CE + lambda_SS L_SS + lambda_NR L_NR (Eq. 14); the clean pass gives the one-step predictions.

        Eq. 12 feeds predictions back with a probability. The paper does not say what of L_SS is left where none are fed
        back: here the term stays, and is that of the clean input, L_CE.
        """
        logits = self(batch)
        losses = self.prediction_losses(logits, batch.tokens)
        terms = {"cross_entropy": losses["cross_entropy"], "clean": losses["loss"]}
        terms["sampling"] = terms["clean"]
        if self.toss():
            sampled = dataclasses.replace(batch, tokens=self.feed_back(batch.tokens, logits.detach()))
            terms["sampling"] = self.next_token_loss(sampled, batch.tokens)
        replaced = dataclasses.replace(batch, tokens=self.replace_neighbours(batch.tokens))
        terms["replacement"] = self.next_token_loss(replaced, batch.tokens)
        weights = {"sampling": self.config.weight_sampling, "replacement": self.config.weight_replacement}
        terms["loss"] = terms["clean"] + sum(weight * terms[name] for name, weight in weights.items())
        return terms

    def toss(self) -> bool:
        """Whether predictions are fed back in this step: one coin for the whole batch, as in the authors' code."""
        return bool(torch.rand(()) < self.config.scheduled_sampling)

    def feed_back(
        self, tokens: Int[Tensor, "batch neuron token"], logits: Float[Tensor, "token batch neuron code"]
    ) -> Int[Tensor, "batch neuron token"]:
        """Scheduled sampling (Eq. 12): a random block of the input becomes the model's own one-step predictions.

        Argmax, as in the authors' code. The first token has no prediction and stays.
        """
        block = random_block(tokens.shape[-1], self.config.block)
        mixed = tokens.clone()
        mixed[..., block] = logits[before(block)].argmax(-1).permute(1, 2, 0)
        return mixed

    def replace_neighbours(self, tokens: Int[Tensor, "batch neuron token"]) -> Int[Tensor, "batch neuron token"]:
        """Neighbourhood replacement (Eq. 13): with a small probability a token becomes one of its nearest codes."""
        choice = torch.randint(self.neighbours.shape[1], tokens.shape, device=tokens.device)
        replaced = torch.rand(tokens.shape, device=tokens.device) < self.config.replacement
        return torch.where(replaced, self.neighbours[tokens, choice], tokens)

    def count_predictions(self, batch: TokenBatch) -> int:
        """Number of tokens that are predicted: all but the first."""
        return batch.tokens[..., 1:].numel()
