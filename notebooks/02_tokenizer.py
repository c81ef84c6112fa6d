# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# %% [markdown]
# # Traces as tokens (Figures 1B and 1C)
#
# The neural quantizer (NQ) gives all neurons one vocabulary: every four frames of a trace become one of $K$ codes. The paper
# claims that this loses little, and loses no more on mice that the quantizer has never seen. Here both are measured, on
# simulated networks or on your recordings, and we look at what the vocabulary is made of.

# %% tags=["parameters"]
profile: str = "smoke"  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "simulation"  # or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials, the initial weights and the batches

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

from calm.config import load_profile
from calm.metrics import pearson
from calm.paths import RUNS, figures_folder
from calm.plots import COLUMN, PAGE, bars, codebook_usage, loss_curves, reconstructions, use_style
from calm.provenance import provenance, update_provenance
from calm.reconstruction import reconstruct, reconstruction_rows
from calm.recordings import load_recordings
from calm.results import save_item, summarise, table
from calm.session import SPLITS
from calm.stages import train_quantizer

started = time.time()
use_style()
recordings = load_recordings(dataset, load_profile(profile), seed=seed)
figures = figures_folder(profile, recordings.name)
for group, sessions in recordings.groups.items():
    for session in sessions:
        print(f"{group}: {session.name}, {len(session.neurons)} neurons, {len(session.traces)} trials")

# %% [markdown]
# ## Training
#
# The encoder and the decoder are causal transformers; in between, a latent $x_t$ is replaced by the nearest code $e_i$. The loss
# (Eq. 4-9) is reconstruction, $\mathrm{MSE} + \alpha(1 - r)$, plus terms that keep latents and codes together (commit, embed),
# keep all codes in use (entropy), keep them apart (orthogonality), and make them predictable (AR and its alignment).
# One quantizer is trained for all held-in sessions, on their training trials.

# %%
quantizer = train_quantizer(recordings.held_in, recordings.profile, seed=seed, runs=RUNS)
figure, axes = plt.subplots(figsize=(COLUMN, 2))
loss_curves(axes, quantizer.history, "reconstruction, validation (r)")
plt.show()
quantizer.history.iloc[[0, -1]].round(3)

# %% [markdown]
# The first epochs reconstruct from the latents themselves; then k-means places the codes, and the validation score, which is
# always taken through the codes, jumps.
#
# ## Reconstruction

# %%
rows = reconstruction_rows(quantizer.model, recordings, item="fig1b", seed=seed)
made_with = provenance(recordings.profile.model_dump(mode="json"), seed, recordings.fingerprints, started)
figure, axes = plt.subplots(figsize=(COLUMN, 2.4))
bars(axes, table(rows), list(SPLITS), "reconstruction (Pearson r)", category="split")
save_item(figures, "fig1b", table(rows), figure, made_with)
plt.show()
summarise(table(rows), ["variant", "split"])

# %% [markdown]
# **Figure 1B.** Correlation of a neuron's trace with its reconstruction from tokens, mean over neurons, then trials, then
# sessions. The claim is that the held-out bars are as high as the held-in ones.
#
# ## Examples and vocabulary

# %%
session = recordings.held_in[0]
trial = session.trials_of("test")[:1]
(reconstructed,), _ = reconstruct(quantizer.model, session, trial)
frames = reconstructed.shape[1]
original = session.traces[trial[0]][:, :frames]
neurons = np.argsort(original.var(axis=1))[::-1][:4]
figure, axes = plt.subplots(len(neurons), 1, figsize=(PAGE, 3.4), sharex=True, squeeze=False)
correlations = pearson(original[neurons], reconstructed[neurons])
reconstructions(
    list(axes[:, 0]), np.arange(frames) / session.rate, original[neurons], reconstructed[neurons], correlations
)
shown = [row for row in rows if (row.session, row.split) == (session.name, "test")]
save_item(figures, "fig1c", table(shown).assign(item="fig1c"), figure, made_with)
plt.show()

# %% [markdown]
# **Figure 1C.** The liveliest neurons of the first test trial of the first session, and what their tokens keep of them.

# %%
_, tokens = reconstruct(quantizer.model, session, session.trials_of("test"))
counts = np.bincount(np.concatenate(tokens, axis=1).ravel(), minlength=quantizer.model.config.codes)
figure, axes = plt.subplots(figsize=(COLUMN, 1.8))
codebook_usage(axes, counts)
plt.show()

# %% [markdown]
# How often each code is used on test trials. Dead codes would waste vocabulary; the entropy term and the revival of codes that
# fall out of use are there to prevent them.

# %%
for item in ("fig1b", "fig1c"):
    update_provenance(figures / "provenance.json", item, made_with)
