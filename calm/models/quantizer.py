"""The neural quantizer, NQ: every neuron's trace becomes tokens of a shared vocabulary (Sec. 3.1, Eq. 2-9, Table 5)."""

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from calm.config.models import QuantizerConfig
from calm.models.codebook import Codebook
from calm.models.interfaces import Trainable
from calm.models.layers import Cache, CausalBlock, init_weights


@dataclasses.dataclass(frozen=True)
class Quantized:
    """What the quantizer makes of traces.

    Attributes:
        latent: encoder output x.
        codes: index of the nearest code.
        reconstruction: decoded trace y_hat.
    """

    latent: Float[Tensor, "token row channel"]
    codes: Int[Tensor, "row token"]
    reconstruction: Float[Tensor, "row frame"]


def pearson(a: Float[Tensor, "row frame"], b: Float[Tensor, "row frame"]) -> Float[Tensor, " row"]:
    """Pearson correlation over time; 0 where one of the two is constant."""
    return F.cosine_similarity(a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True), dim=-1)


class Predictor(nn.Module):
    """Causal head that predicts the codes at t+1 .. t+H from the latents up to t (the AR head of Eq. 9)."""

    def __init__(self, config: QuantizerConfig):
        super().__init__()
        self.blocks = nn.Sequential(*[CausalBlock(config.width, config.heads) for _ in range(config.predictor_layers)])
        self.horizon = nn.Parameter(torch.zeros(config.horizons, config.width))
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.logits = nn.Linear(config.width, config.codes)

    def forward(self, latent: Float[Tensor, "token row channel"]) -> Float[Tensor, "horizon token row code"]:
        """Logits of each horizon at each token."""
        hidden = self.blocks(latent)
        return self.logits(self.norm(hidden + self.horizon[:, None, None]))


class NeuralQuantizer(Trainable):
    """Encoder, codebook, decoder and causal head.

    Rows are traces of single neurons in single trials, each of a whole number of windows.
    """

    def __init__(self, config: QuantizerConfig):
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.window, config.width)  # a convolution of stride `window` on one channel
        self.encoder = nn.Sequential(*[CausalBlock(config.width, config.heads) for _ in range(config.encoder_layers)])
        self.to_latent = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.width))
        self.codebook = Codebook(config)
        # The paper asks for a causal encoder only; a causal decoder lets forecasts be decoded as they are made.
        self.decoder = nn.Sequential(*[CausalBlock(config.width, config.heads) for _ in range(config.decoder_layers)])
        self.to_frames = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.window))
        self.predictor = Predictor(config)
        init_weights(self, 2 * max(config.encoder_layers, config.decoder_layers))
        self.temperature = config.temperature[0]

    def encode(self, traces: Float[Tensor, "row frame"]) -> Float[Tensor, "token row channel"]:
        """Latents x; token t depends on frames up to the end of window t only."""
        windows = traces.unflatten(-1, (-1, self.config.window)).transpose(0, 1)
        return self.to_latent(self.encoder(self.embed(windows)))

    def encode_codes(self, traces: Float[Tensor, "row frame"]) -> Int[Tensor, "row token"]:
        """Nearest codes, without Gumbel noise; frames after the last whole window are left out."""
        whole = traces.shape[-1] // self.config.window * self.config.window
        return self.codebook.nearest(self.encode(traces[:, :whole])).T

    def decode(
        self, vectors: Float[Tensor, "token row channel"], caches: Sequence[Cache] | None = None
    ) -> Float[Tensor, "row frame"]:
        """Traces from code vectors; with caches (one a layer), of the newest tokens, given all before them."""
        x = vectors
        for block, cache in zip(self.decoder, caches or [None] * len(self.decoder), strict=True):
            x = block(x, cache)
        return self.to_frames(x).transpose(0, 1).flatten(1)

    def decode_codes(self, codes: Int[Tensor, "row token"]) -> Float[Tensor, "row frame"]:
        """Traces from code indices."""
        return self.decode(self.codebook.vectors[codes].transpose(0, 1))

    def forward(self, traces: Float[Tensor, "row frame"]) -> Quantized:
        """Encode, quantize to the nearest code, decode."""
        latent = self.encode(traces)
        codes = self.codebook.nearest(latent)
        if not self.codebook.has_started():
            return Quantized(latent, codes.T, self.decode(latent))
        # Straight-through: the decoder sees the code, the encoder gets the decoder's gradient.
        passed = latent + (self.codebook.vectors[codes] - latent).detach()
        return Quantized(latent, codes.T, self.decode(passed))

    def training_loss(self, traces: Float[Tensor, "row frame"]) -> dict[str, Float[Tensor, ""]]:
        """Every term of Eq. 4-9 and, under `loss`, their weighted sum."""
        config, output = self.config, self(traces)
        terms = {"mse": F.mse_loss(output.reconstruction, traces)}
        terms["pearson"] = 1 - pearson(output.reconstruction, traces).mean()
        weights = {"mse": 1.0, "pearson": config.weight_pearson}
        self.codebook.remember(output.latent.detach(), output.codes.T)
        if self.codebook.has_started():
            terms |= self.codebook.losses(output.latent, output.codes.T, self.temperature)
            terms |= self.prediction_losses(output.latent, output.codes.T)
            names = ("embed", "commit", "entropy", "orthogonality", "ar", "align")
            weights |= {name: getattr(config, f"weight_{name}") for name in names}
        terms["loss"] = sum(weight * terms[name] for name, weight in weights.items())
        return terms

    def prediction_losses(
        self, latent: Float[Tensor, "token row channel"], codes: Int[Tensor, "token row"]
    ) -> dict[str, Float[Tensor, ""]]:
        """L_AR of Eq. 9: cross-entropy of the codes 1..H tokens ahead, and alignment with soft assignment at t+1."""
        by_horizon = self.predictor(latent).unbind()  # not slices of it: their gradient would fill as many zeros each
        ahead = [
            F.cross_entropy(
                logits[:-step].flatten(0, 1), codes[step:].flatten(), label_smoothing=self.config.label_smoothing
            )
            for step, logits in enumerate(by_horizon[: len(codes) - 1], start=1)
        ]
        soft = self.codebook.logits(latent[1:]).softmax(-1).detach()
        align = -(soft * by_horizon[0][:-1].log_softmax(-1)).sum(-1).mean()
        return {"ar": torch.stack(ahead).mean(), "align": align}

    def before_step(self, step: int, steps: int) -> None:
        """Cool the Gumbel temperature; start the codebook after the warm-up; revive dead codes from time to time."""
        config, (start, end) = self.config, self.config.temperature
        self.temperature = start * (end / start) ** min(1.0, step / max(1.0, config.anneal * steps))
        warmup, every = (max(1, round(share * steps)) for share in (config.warmup, config.revive_every))
        if step == warmup:
            self.codebook.start(seed=step)
        elif step > warmup and (step - warmup) % every == 0:
            self.codebook.revive()

    def after_step(self) -> None:
        """Move the codebook towards the latents of the last step."""
        self.codebook.update()

    def count_predictions(self, batch: Float[Tensor, "row frame"]) -> int:
        """Number of tokens."""
        return batch.numel() // self.config.window
