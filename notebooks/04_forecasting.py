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
# # Forecasting recordings (Figure 3D)
#
# From the first frames of a trial, forecast the rest: CalM, pretrained on many sessions, against methods that are fitted on
# each session alone. On recordings nobody knows the ceiling, so the naive methods and the linear one set the scale. All are
# compared on the same frames, a horizon that every trial reaches or that the description of the dataset sets.
#
# POCO, the paper's rival in this figure, is not here yet.

# %% tags=["parameters"]
profile: str = "smoke"  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "simulation"  # or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials, the initial weights and the batches

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

from calm.config import load_profile
from calm.evaluation import calm_forecasters, forecast_trials, linear_forecasters
from calm.forecasting import compared_trials
from calm.paths import RUNS, figures_folder
from calm.plots import PAGE, bars, example_traces, use_style
from calm.provenance import provenance, update_provenance
from calm.recordings import load_recordings
from calm.results import save_item, summarise
from calm.scores import ForecastScores
from calm.stages import adapt_transformer, train_quantizer, train_transformer

started = time.time()
use_style()
recordings = load_recordings(dataset, load_profile(profile), seed=seed)
settings, figures = recordings.profile, figures_folder(profile, recordings.name)
context = settings.forecast.context

# %%
quantizer = train_quantizer(recordings.held_in, settings, seed=seed, runs=RUNS)
transformer = train_transformer(quantizer, recordings.held_in, settings, seed=seed, runs=RUNS)
models = {"held-in": transformer.model}
if recordings.held_out:
    adapted = adapt_transformer(transformer, quantizer, recordings.held_out, settings, seed=seed, runs=RUNS)
    models["held-out"] = adapted.model

# %%
scores, forecasts = ForecastScores("fig3d", recordings.name, seed, settings.forecast), {}
for group, sessions in recordings.groups.items():
    for session in sessions:
        trials = compared_trials(session, "test", settings.forecast)
        methods = linear_forecasters(session, settings)[0]
        methods |= calm_forecasters(models[group], quantizer.model, session, settings)
        found = forecast_trials(methods, session, trials, settings.forecast)[0]
        scores.add(session, trials, found, group)
        forecasts[session.name] = found

# %%
made_with = provenance(settings.model_dump(mode="json"), seed, recordings.fingerprints, started)
correlations = scores.table().query("metric == 'corr'")
figure, axes = plt.subplots(1, len(models), figsize=(PAGE, 2.8), sharey=True, squeeze=False)
for panel, group in zip(axes[0], models, strict=True):
    rows = correlations[correlations["variant"].str.endswith(group)]
    rows = rows.assign(variant=rows["variant"].str.removesuffix(group).str.removesuffix(", "))
    bars(panel, rows, ["persistence", "mean trial", "decay", "ridge VAR", "CalM"], "forecast correlation (Pearson r)")
    panel.set_title(group)
save_item(figures, "fig3d", scores.table(), figure, made_with)
save_item(figures, "fig3d_trials", scores.trial_table(), None, made_with)
plt.show()
summarise(scores.table(), ["method", "variant", "metric"]).pivot(
    index=["method", "variant"], columns="metric", values="mean"
).round(3)

# %% [markdown]
# **Figure 3D.** Pearson correlation per neuron over the frames after the context, mean over neurons, then test trials, then
# sessions. CalM's parameters are shared over sessions; for held-out subjects only embeddings were trained. The others were
# fitted to each session.

# %%
session = max(recordings.held_in, key=lambda each: len(each.neurons))
trial = int(compared_trials(session, "test", settings.forecast)[0])
trace = session.traces[trial][:, : context + (settings.forecast.horizon or session.frames[trial])]
neurons = np.argsort(trace.var(axis=1))[::-1][:4]
shown = {"CalM": ("CalM", "expected"), "ridge VAR": ("ridge VAR", "")}
figure, axes = plt.subplots(len(neurons), 1, figsize=(PAGE, 3.6), sharex=True, squeeze=False)
example_traces(
    list(axes[:, 0]),
    np.arange(trace.shape[1]) / session.rate,
    trace[neurons],
    {name: forecasts[session.name][key][0][neurons] for name, key in shown.items()},
    context_end=context / session.rate,
)
examples = scores.trial_table().query("session == @session.name and trial == @trial").drop(columns="trial")
save_item(figures, "fig3f", examples.assign(item="fig3f"), figure, made_with)
plt.show()

# %% [markdown]
# **Figure 3F.** The first test trial of the largest held-in session, its liveliest neurons.

# %%
for item in ("fig3d", "fig3d_trials", "fig3f"):
    update_provenance(figures / "provenance.json", item, made_with)
