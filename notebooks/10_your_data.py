# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own recordings
#
# From recordings to a model, its forecasts and its embeddings, in a few lines. By default this runs on a few synthetic files. Put your
# own files under `files`: NWB with a `RoiResponseSeries` and a table of trials, or CSV, NPZ or Suite2p's folders, which are cut into
# windows; or, for anything else (other trials, some of several series), the path of a dataset description under `dataset`.
# `calm.inspect("a file")` prints what is in a file and a description to begin with; `data/README.md` explains every key, and how to run
# all the other notebooks on a description.

# %% tags=["parameters"]
import os

# Words after its name change numbers of a profile (see calm/profiles/), as "smoke dat.layers=3 dat_fit.steps=80".
profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large the models are
files: str = ""  # pattern of your files, as "~/recordings/*.nwb"; empty takes synthetic ones
dataset: str = ""  # path of a description, in place of `files`, `rate`, `behaviour`, `context` and `smoothing`
rate: float = 0.0  # frames per second, where files do not say
behaviour: list = []  # names of behavioural series
context: int = 40  # frames of each trial that a forecast starts from
smoothing: float = 1.0  # weight of the newest frame in causal smoothing; 1 is none, the paper's data have 0.15
seed: int = 0  # of the split into trials, the initial weights and the batches

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import calm
from calm.baselines.linear import Decay, MeanTrial
from calm.metrics import trial_correlation
from calm.paths import DATA, RUNS
from calm.paper.plots import PAGE, loss_curves, use_style
from calm.profile import load_profile
from calm.recordings import load_recordings
from calm.data.session import cut_trials
from calm.synthetic.cohort import make_cohort

use_style()
settings = load_profile(profile)
settings = settings.changed(forecast=settings.forecast.changed(context=context))
keys = {"files": files, "rate": rate or None, "behaviour": behaviour or None}
if not files and not dataset:
    keys |= {"files": str(make_cohort(settings.cohort, DATA) / "sub-[34]" / "*" / "*.nwb"), "layout": "dandi_000579"}
    smoothing = 0.15

# %% [markdown]
# ## Reading and preparing
#
# A `Session` holds the trials of one recording: traces (neurons, frames), behaviour (frames, channels), and a table of trials
# and of neurons. Preparing checks it, splits the trials 70/15/15, smooths, and z-scores with what the training trials say.

# %%
if dataset:
    recordings = load_recordings(dataset, settings, seed=seed)
    sessions, settings = [*recordings.held_in, *recordings.held_out], recordings.profile
    context = settings.forecast.context
else:
    recorded = calm.load_sessions(keys)
    sessions = [calm.prepare(session, seed=seed, smoothing=smoothing, min_frames=context + 4) for session in recorded]
pd.DataFrame(
    {
        "subject": [session.subject for session in sessions],
        "neurons": [len(session.neurons) for session in sessions],
        "trials": [len(session.traces) for session in sessions],
        "frames of a trial": [f"{session.frames.min()} to {session.frames.max()}" for session in sessions],
        "behaviour": [", ".join(session.behaviour_names) for session in sessions],
    },
    index=[session.name for session in sessions],
)

# %% [markdown]
# ## Pretraining
#
# The last session, if there are several, is kept back, to see how the model takes to a recording that it does not know. Training goes on where it was
# if it is interrupted, and is found again if it was done before.

# %%
*known, new = sessions if len(sessions) > 1 else 2 * sessions
model = calm.CalM.pretrain(known, settings, seed=seed, runs=RUNS)
figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2))
loss_curves(axes[0], model.quantizer.history, "reconstruction, validation (r)")
loss_curves(axes[1], model.transformer.history, "forecast, validation (r)")
plt.show()

# %% [markdown]
# ## A new session
#
# Only what says who its neurons are is trained; everything else stays as it is.

# %%
adapted = model.adapt([new], seed=seed, runs=RUNS)
trials = new.trials_of("test")
contexts, futures = cut_trials(new, trials, context)
horizons = [future.shape[1] for future in futures]
forecasts = {
    "CalM": adapted.forecast(new, trials),
    "decay": Decay().fit(new).forecast(contexts, horizons),
    "mean trial": MeanTrial().fit(new).forecast(contexts, horizons),
}
pd.Series(
    {
        name: np.mean([trial_correlation(*pair) for pair in zip(futures, predicted, strict=True)])
        for name, predicted in forecasts.items()
    },
    name="forecast correlation, test trials",
).round(3)

# %% [markdown]
# The two naive methods tell what a neuron's own last value, and what all trials have in common, already give away. A model that
# is not above them has not learned the dynamics; the models of profile `smoke` are far too small for that.

# %%
figure = calm.plot_forecast(adapted, new)
plt.show()

# %% [markdown]
# The first test trial, its liveliest neurons: what they did, what was forecast, and bands that hold half and nine tenths of a
# hundred possible futures, in the unit of the file.
#
# ## Exploring it
#
# Choose another trial, neuron or number of rollouts (in JupyterLab or VS Code, while the kernel runs; elsewhere the figure stays as it is).

# %%
calm.explore(adapted, [new])

# %% [markdown]
# **A.** A neuron in a trial: its trace, what its tokens keep of it, ten of the futures that were drawn, and the bands of all of them. **B.** Its
# tokens, coloured by the mean of the frames that each stands for. **C.** The neurons of the session on the two main directions of their
# embeddings, coloured by how much the chosen one (black ring) attends to each in this trial, mean over tokens, heads and layers; 1 is an
# even share. Attention says what is looked at, not what matters. **D.** The same trial of the neuron and of those nearest to it, whose rings have the same colours.
#
# ## Keeping it
#
# A saved model is a folder: weights, configuration and checksums, no code.

# %%
adapted.save(RUNS / "my-model")
again = calm.CalM.load(RUNS / "my-model")
print(again.sessions, again.embeddings(new).shape)
