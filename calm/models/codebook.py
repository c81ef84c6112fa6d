"""The codebook of the quantizer: nearest code, its losses, EMA update, k-means start and revival (Eq. 3, 5-8)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from calm.config.models import QuantizerConfig
from calm.devices import from_first_rank, rows_of_all_ranks, sum_over_ranks
from calm.errors import CalmError

TINY = 1e-9  # keeps logarithm and division finite, and their gradients, where a code is not used at all


class Codebook(nn.Module):
    """K vectors, trained both by exponential moving average and by the embedding loss, as the authors' code does."""

    def __init__(self, config: QuantizerConfig):
        super().__init__()
        self.config = config
        self.vectors = nn.Parameter(torch.randn(config.codes, config.width))
        self.register_buffer("usage", torch.ones(config.codes))  # EMA of the number of latents per step
        self.register_buffer("queue", torch.zeros(config.queue, config.width))
        self.register_buffer("queued", torch.zeros((), dtype=torch.long))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self._known_to_have_started = False
        self._latest: list[tuple[Tensor, Tensor, Tensor]] = []  # of each batch of the step

    def has_started(self) -> bool:
        """Whether the codes have their place; once they have, a GPU is not asked, and made to wait, again."""
        self._known_to_have_started = self._known_to_have_started or bool(self.started)
        return self._known_to_have_started

    def distances(self, latent: Float[Tensor, "*shape channel"]) -> Float[Tensor, "*shape code"]:
        """Squared Euclidean distance of every latent to every code, in full precision whatever the model is run in."""
        with torch.autocast(latent.device.type, enabled=False):
            latent = latent.to(self.vectors.dtype)
            return latent.square().sum(-1, keepdim=True) - 2 * latent @ self.vectors.T + self.vectors.square().sum(-1)

    def nearest(self, latent: Float[Tensor, "*shape channel"]) -> Int[Tensor, "*shape"]:
        """i = argmin_j |x - e_j|^2 (Eq. 3)."""
        return self.distances(latent).argmin(-1)

    def logits(self, latent: Float[Tensor, "*shape channel"]) -> Float[Tensor, "*shape code"]:
        """Logits of the soft assignment, -|x - e|^2 / sqrt(C)."""
        # The paper has no root; without it the softmax is one-hot in practice and the entropy term has no gradient.
        return -self.distances(latent) / self.config.width**0.5

    def losses(
        self, latent: Float[Tensor, "token row channel"], codes: Int[Tensor, "token row"], temperature: float
    ) -> dict[str, Float[Tensor, ""]]:
        """Commitment and embedding (Eq. 5), entropy of the mean assignment (Eq. 6, negated), orthogonality (Eq. 7).

        Distances are means over channels where the paper has sums, so that the weights mean the same at every width.
        """
        chosen = F.embedding(codes, self.vectors)  # not an index: its gradient differs from run to run on two threads
        usage = F.gumbel_softmax(self.logits(latent), tau=temperature).flatten(0, 1).mean(0)
        # The paper does not say which E: only unit vectors can reach the identity, raw codes have the encoder's scale.
        unit = F.normalize(self.vectors, dim=-1)
        return {
            "commit": F.mse_loss(latent, chosen.detach()),
            "embed": F.mse_loss(chosen, latent.detach()),
            "entropy": (usage * (usage + TINY).log()).sum(),  # nats
            "orthogonality": (unit @ unit.T - torch.eye(len(unit), device=unit.device)).square().sum(),
        }

    def remember(self, latent: Float[Tensor, "token row channel"], codes: Int[Tensor, "token row"]) -> None:
        """Keep the latents of a batch for `update`, with a sample of them for the queue of recent ones."""
        flat = latent.flatten(0, 1)
        chosen = torch.randperm(len(flat), device=flat.device)[: max(1, len(self.queue) // 10)]
        self._latest.append((flat, codes.flatten(), flat[chosen].to(self.queue.dtype)))

    @torch.no_grad()
    def update(self) -> None:
        """Add to the queue; EMA update of the codes that the last step used, on all processes (Table 5, decay 0.99).

        With counts n_k and means m_k of a step: N_k <- g N_k + (1 - g) n_k, e_k <- e_k + (1 - g) n_k/N_k (m_k - e_k).
        This is the usual update of sums and counts, written so that gradient steps on e_k are kept.
        """
        latent, codes, sample = (torch.cat(parts) for parts in zip(*self._latest, strict=True))
        self._latest = []
        self.enqueue(rows_of_all_ranks(sample))
        # Not `bincount`, which makes a GPU wait until the largest code is known.
        counts = torch.zeros_like(self.usage).index_add_(0, codes, torch.ones_like(codes, dtype=self.usage.dtype))
        sums = torch.zeros_like(self.vectors).index_add_(0, codes, latent.to(self.vectors.dtype))
        sum_over_ranks(counts, sums)
        if not self.has_started():
            self.usage.copy_(counts.mean())
            return
        self.usage.lerp_(counts, 1 - self.config.ema_decay)
        rate = (1 - self.config.ema_decay) / self.usage.clamp_min(TINY)
        self.vectors += rate[:, None] * (sums - counts[:, None] * self.vectors)

    def enqueue(self, sample: Float[Tensor, "latent channel"]) -> None:
        """Put latents in the place of the oldest ones in the queue."""
        sample = sample[-len(self.queue) :]
        self.queue[(self.queued + torch.arange(len(sample), device=sample.device)) % len(self.queue)] = sample
        self.queued += len(sample)

    def recent(self) -> Float[Tensor, "latent channel"]:
        """The filled part of the queue."""
        return self.queue[: min(int(self.queued), len(self.queue))]

    @torch.no_grad()
    def start(self, seed: int) -> None:
        """Place the codes by k-means on recent latents.

        Raises:
            CalmError: fewer latents than codes.
        """
        recent = self.recent()
        if len(recent) < len(self.vectors):
            raise CalmError(
                f"{len(recent)} windows seen in the warm-up are too few for {len(self.vectors)} codes:"
                " give more trials or neurons, or a smaller `codes`."
            )
        with threadpool_limits(limits=1):  # its threads add up in the order they finish: no two runs would be the same
            means = KMeans(len(self.vectors), n_init=1, random_state=seed).fit(recent.float().cpu().numpy())
        self.vectors.copy_(torch.from_numpy(means.cluster_centers_))
        from_first_rank(self.vectors)
        self.started.fill_(True)

    @torch.no_grad()
    def revive(self) -> None:
        """Put every code whose usage is below `revive_below` of the mean onto a random recent latent (Sec. 3.1)."""
        mean = self.usage.mean()
        dead = self.usage < self.config.revive_below * mean
        recent = self.recent()
        drawn = torch.randint(len(recent), (int(dead.sum()),), device=recent.device)
        self.vectors[dead] = recent[drawn].to(self.vectors.dtype)
        from_first_rank(self.vectors)
        self.usage[dead] = mean
