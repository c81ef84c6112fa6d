"""POYO+ for calcium traces (Azabou et al. 2025, ICLR; App. B): the official model of torch_brain behind our interface.

It reads a window of a second or a few, one token per neuron and frame: the value of the trace beside an embedding of
the neuron, rotated by its time. Latents at regular times read the tokens and attend to each other; then a query for
each frame reads the latents. The official modules are given tensors here, without the package's files and tokeniser.

Departures from the authors' training: the loop that all networks share, with AdamW and one session a step, in place of
LAMB and mixed batches; and no neurons are left out at random.
"""

import copy
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch_brain.models import CalciumPOYOPlus
from torch_brain.nn import InfiniteVocabEmbedding
from torch_brain.nn.loss import MSELoss
from torch_brain.registry import DataType, ModalitySpec
from torch_brain.utils import create_linspace_latent_tokens

from calm.config.rivals import POYOConfig
from calm.errors import CalmError
from calm.models.interfaces import DecoderNetwork

LONGEST_PERIOD = 2.0627  # of the rotations, in windows; the official default, meant for windows of 1 s
READOUT = "behaviour"  # the only one, of all channels
FEW = 4  # frames that a limited window is read for; the last of them sees 3 frames less, as with heads on tokens of 4
AT_ONCE = 64  # windows: trials are seldom of equal length, and one by one their windows would be slow


class Vocabulary(InfiniteVocabEmbedding):
    """The official embeddings of names that are known from the start.

    Their state is the table alone: the official one holds the names, too, which a checkpoint of tensors cannot.
    """

    def __init__(self, width: int, names: list[str]):
        super().__init__(width)
        self.initialize_vocab(names)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Without the names."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        del destination[f"{prefix}vocab"]

    def _hook_vocab_on_load_state_dict(self, *_: Any) -> None:
        """Rows are in the order of the sessions, so that there are no names to match."""


class OfficialPOYO(CalciumPOYOPlus):
    """The official model with one readout, of all behavioural channels, for sessions that are known from the start."""

    def __init__(self, config: POYOConfig, sessions: Mapping[str, int], behaviours: int):
        super().__init__(
            sequence_length=config.window,
            readout_specs={READOUT: readout_spec(behaviours)},
            latent_step=config.latent_step,
            num_latents_per_step=config.latents,
            dim=config.width,
            depth=config.depth,
            dim_head=config.head_width,
            self_heads=config.heads,
            ffn_dropout=config.ffn_dropout,
            lin_dropout=config.linear_dropout,
            atn_dropout=config.attention_dropout,
            t_max=LONGEST_PERIOD * config.window,
        )
        units = [unit_name(session, neuron) for session, neurons in sessions.items() for neuron in range(neurons)]
        self.unit_emb = Vocabulary(config.width // 2, units)
        self.session_emb = Vocabulary(config.width, list(sessions))

    def _validate_params(self, sequence_length: float, latent_step: float) -> None:
        """Nothing is checked: the official check takes 1 s for no multiple of 0.1 s, and the root logger says so."""


def unit_name(session: str, neuron: int) -> str:
    """Name of a neuron among those of all sessions."""
    return f"{session}/{neuron}"


def readout_spec(behaviours: int) -> ModalitySpec:
    """What the official model is told of its readout; it need not be registered, as only the tokeniser looks it up."""
    return ModalitySpec(
        id=1,  # 0 is padding; ids of the package's own registry lie beyond the two task embeddings of the model
        dim=behaviours,
        type=DataType.CONTINUOUS,
        timestamp_key="behaviour.timestamps",
        value_key="behaviour.values",
        loss_fn=MSELoss(),
    )


def check_sizes(config: POYOConfig, rate: float) -> None:
    """Refuse what the official modules cannot take.

    Raises:
        CalmError: a width that cannot be halved, heads that cannot be quartered, or a window below one frame.
    """
    if config.width % 2 or config.head_width % 4:
        raise CalmError(
            f"POYO+ needs a `width` that 2 divides, not {config.width}, and a `head_width` that 4 divides, not"
            f" {config.head_width}."
        )
    if round(config.window * rate) < 1:
        raise CalmError(f"POYO+ finds no frame in a window of {config.window} s at {rate} Hz: enlarge `window`.")


def window_starts(frames: int, window: int) -> list[int]:
    """First frames of the windows that a stretch is read in: every half window, and the last one up to its end."""
    return [*range(0, max(0, frames - window), max(1, window // 2)), max(0, frames - window)]


class POYO(DecoderNetwork):
    """Reads behaviour window by window from the traces of any of the sessions that it was made for.

    It sees the whole window, so that it looks ahead by up to a window less one frame, unless it is limited.

    Attributes:
        look_ahead: frames after the present one that are seen; None is up to the end of its windows.

    Raises:
        CalmError: see `check_sizes`.
    """

    session_parameters = ("official.unit_emb.", "official.session_emb.")
    look_ahead: int | None = None

    def __init__(self, config: POYOConfig, sessions: Mapping[str, int], behaviours: int, rate: float):
        check_sizes(config, rate)
        super().__init__(config, round(config.window * rate))
        self.rate = rate
        ends = accumulate(sessions.values(), initial=1)  # row 0 is padding
        self.first_units = dict(zip(sessions, ends, strict=False))
        self.official = OfficialPOYO(config, sessions, behaviours)
        # Over the window as configured: by its frames, a measured rate such as 5.9999999 Hz would add a latent step.
        latents = create_linspace_latent_tokens(0, config.window, config.latent_step, config.latents)
        for name, values in zip(("latent_index", "latent_timestamps"), latents, strict=True):
            self.register_buffer(name, torch.from_numpy(values)[None], persistent=False)

    def decode(
        self, session: str, traces: Float[Tensor, "batch neuron frame"]
    ) -> Float[Tensor, "batch frame behaviour"]:
        """Behaviour on every frame of stretches of any length, in z-scores.

        Windows overlap by half, and a frame gets the mean of its windows, as in the authors' evaluation. A stretch
        that is shorter than a window is the beginning of one.
        """
        if self.look_ahead is not None:
            return self.decode_limited(session, traces, self.look_ahead)
        batch, _, frames = traces.shape
        stretches = [slice(start, start + self.window) for start in window_starts(frames, self.window)]
        windows = torch.cat([traces[..., stretch] for stretch in stretches]).split(max(AT_ONCE, batch))
        read = torch.cat([self.read_window(session, part) for part in windows]).split(batch)
        total, times = traces.new_zeros(batch, frames, read[0].shape[-1]), traces.new_zeros(frames, 1)
        for stretch, predicted in zip(stretches, read, strict=True):
            total[:, stretch] += predicted
            times[stretch] += 1
        return total / times

    def limited(self, look_ahead: int) -> "POYO":
        """The same network, which decodes frames from windows that end so many frames after them, or fewer (ours).

        It was trained on every place in a window, so on these, too. Windows that reach no further stay as they are.
        """
        limited = copy.copy(self)  # with the same weights
        limited.look_ahead = look_ahead if look_ahead < self.window - 1 else None
        return limited

    def decode_limited(
        self, session: str, traces: Float[Tensor, "batch neuron frame"], look_ahead: int
    ) -> Float[Tensor, "batch frame behaviour"]:
        """A window for every few frames; before and after the trial there are zeros, the mean of every neuron."""
        batch, _, frames = traces.shape
        first, few = self.window - 1 - look_ahead, min(FEW, look_ahead + 1)
        padded = F.pad(traces, (first, look_ahead + -frames % few))
        windows = padded.unfold(2, self.window, few).transpose(1, 2).flatten(0, 1)
        read = [self.read_window(session, part)[:, first : first + few] for part in windows.split(AT_ONCE)]
        return torch.cat(read).unflatten(0, (batch, -1)).flatten(1, 2)[:, :frames]

    def read_window(
        self, session: str, traces: Float[Tensor, "batch neuron frame"]
    ) -> Float[Tensor, "batch frame behaviour"]:
        """Behaviour on every frame of stretches of one window or less."""
        return self.official(**self.inputs(session, traces))[READOUT].unflatten(0, (len(traces), -1))

    def inputs(self, session: str, traces: Float[Tensor, "batch neuron frame"]) -> dict[str, Tensor]:
        """What the official tokeniser makes of a window, without padding; times in s, once for the whole batch.

        Times are in double precision, as there: the shortest period of the rotations is 0.1 ms.

        Raises:
            CalmError: a session that it was not made for.
        """
        if session not in self.first_units:
            known = ", ".join(self.first_units)
            raise CalmError(f"POYO+ was not trained on session {session!r}, only on {known}: train it on all of them.")
        batch, neurons, frames = traces.shape
        row = torch.zeros(batch, frames, dtype=torch.int64, device=traces.device)
        units = self.first_units[session] + torch.arange(neurons, device=traces.device)
        times = torch.arange(frames, dtype=torch.float64, device=traces.device)[None] / self.rate
        return {
            "input_unit_index": units.repeat(batch, frames),
            "input_timestamps": times.repeat_interleave(neurons, dim=1),
            "input_values": traces.transpose(1, 2).reshape(batch, -1, 1),
            "latent_index": self.latent_index.expand(batch, -1),
            "latent_timestamps": self.latent_timestamps,
            "output_session_index": row + 1 + list(self.first_units).index(session),
            "output_timestamps": times,
            "output_decoder_index": row + 1,
        }
