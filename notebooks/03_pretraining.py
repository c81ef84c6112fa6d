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
# # Learning to predict tokens
#
# One dual-axis transformer (DAT) for all held-in sessions: it shares everything but an embedding for each neuron and one for
# each session. Then sessions of held-out subjects are added by training only *their* embeddings, everything else frozen.

# %% tags=["parameters"]
profile: str = "smoke"  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "simulation"  # or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials, the initial weights and the batches

# %%
import matplotlib.pyplot as plt

from calm.config import load_profile
from calm.paths import RUNS
from calm.plots import COLUMN, loss_curves, use_style
from calm.recordings import load_recordings
from calm.stages import adapt_transformer, train_quantizer, train_transformer

use_style()
recordings = load_recordings(dataset, load_profile(profile), seed=seed)
quantizer = train_quantizer(recordings.held_in, recordings.profile, seed=seed, runs=RUNS)

# %% [markdown]
# ## Pretraining
#
# The input of a neuron at a time step is the sum of its token's, its own and its session's embedding (Eq. 10). Every layer
# attends over the neurons of the same time step, and over time with a causal mask. The loss is the cross-entropy of the next
# token (Eq. 11). Two things harden the model against its own mistakes: scheduled sampling (Eq. 12) feeds its predictions back
# in a block of the input, and neighbourhood replacement (Eq. 13) swaps tokens for similar ones.

# %%
transformer = train_transformer(quantizer, recordings.held_in, recordings.profile, seed=seed, runs=RUNS)
figure, axes = plt.subplots(figsize=(COLUMN, 2))
loss_curves(axes, transformer.history, "forecast, validation (r)")
plt.show()

# %% [markdown]
# The two curves need not move together: what makes rollouts good, the coupling between neurons, is learned late and hardly
# shows in the loss. So the weights are chosen by rollouts on validation trials.
#
# ## Held-out subjects

# %%
if recordings.held_out:
    adapted = adapt_transformer(transformer, quantizer, recordings.held_out, recordings.profile, seed=seed, runs=RUNS)
    figure, axes = plt.subplots(figsize=(COLUMN, 2))
    loss_curves(axes, adapted.history, "forecast, validation (r)")
    plt.show()
else:
    print("No subject is held out: name some under `held_out` in the dataset description.")
