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
# # Low-dimensional dynamics (Figure 5C)
#
# A population moves along few directions. Does a forecast keep to the course that the population takes along these, even
# where it misses single neurons?
#
# The principal components of the true traces of a session's test trials, over the frames of the horizon, are the basis. True
# traces and forecasts are projected on it; Pearson correlation over the frames of each trial is taken along each component,
# and averaged over components, trials and sessions.
#
# Trials are alike. So forecasts are also compared with what happened in *other* trials of the same session: what is left then
# needs no forecast of the trial at hand, only of the task.

# %% tags=["parameters"]
import os

profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "cohort"  # simulation, cohort, or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials, the initial weights and the batches
shuffles: int = 999  # of the trials

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

from calm.paper.claims.comparisons import chosen_variant
from calm.paper.experiments.comparison import methods_of_many, train_many
from calm.paper.embeddings.dynamics import project
from calm.paper.embeddings.dynamics_scores import COMPONENT_CORR, ITEM, DynamicsScores
from calm.paper.claims.table import verdicts
from calm.paper.experiments.evaluation import forecast_trials
from calm.baselines.validation import compared_trials
from calm.paths import RUNS, figures_folder
from calm.paper.plots import PAGE, bars, use_style
from calm.paper.plots.dynamics import by_component, component_example, components_and_neurons, shuffle_boxes
from calm.profile import load_profile
from calm.paper.provenance import provenance, update_provenance
from calm.recordings import load_recordings
from calm.paper.results import save_item, summarise
from calm.paper.experiments.scores import ForecastScores
from calm.data.session import cut_trials
from calm.training.stages import train
from calm.training.tasks import QuantizerTask

started = time.time()
use_style()
recordings = load_recordings(dataset, load_profile(profile), seed=seed)
settings, figures, groups = recordings.profile, figures_folder(profile, recordings.name), recordings.groups
config = settings.forecast
task = QuantizerTask(recordings.held_in, settings.quantizer)
quantizer = train(task, settings.quantizer_fit, seed=seed, runs=RUNS)
transformers, pocos = train_many(quantizer, groups, settings, seed=seed, runs=RUNS)  # those of notebook 04

# %% [markdown]
# ## Forecasts
#
# CalM can go on after a token in several ways. The one that forecasts validation trials best stands for it. POCO has the same
# sessions; ridge VAR and the mean trial are fitted to each session.

# %%
everyone = [(group, session) for group, sessions in groups.items() for session in sessions]
validation, methods = ForecastScores(ITEM, recordings.name, seed, config), {}
for group, session in everyone:
    found = methods_of_many(session, transformers[group].model, quantizer.model, pocos[group], settings)
    calm = {label: method for label, method in found.items() if label[0] == "CalM"}
    trials = compared_trials(session, "val", config)
    validation.add(session, trials, forecast_trials(calm, session, trials, config)[0])
    methods[session.name] = found
variant = chosen_variant(validation.trial_table())
shown = [("mean trial", ""), ("ridge VAR", ""), ("POCO", ""), ("CalM", variant)]
print(f"CalM is rolled out by: {variant}")

# %%
scores, components, forecasts = DynamicsScores(recordings.name, draws=shuffles, seed=seed), {}, {}
for group, session in everyone:
    trials = compared_trials(session, "test", config)
    futures = cut_trials(session, trials, config.context, config.horizon)[1]
    found = {label: methods[session.name][label] for label in shown}
    forecasts[session.name] = forecast_trials(found, session, trials, config)[0]
    components[session.name] = scores.add(session, group, trials, futures, forecasts[session.name])
tables, made_with = (
    scores.tables(),
    provenance(settings.model_dump(mode="json"), seed, recordings.fingerprints, started),
)

# %% [markdown]
# ## Along the components, and neuron by neuron

# %%
order = [method for method, _ in shown]
figure, axes = plt.subplots(3, len(groups), figsize=(PAGE, 6.4), squeeze=False)
for (top, middle, bottom), group in zip(axes.T, groups, strict=True):
    own = {item: rows[rows["variant"].str.endswith(group)] for item, rows in tables.items()}
    along = own[ITEM][own[ITEM]["metric"] == COMPONENT_CORR].assign(variant="")
    bars(top, along, order, f"{group}: correlation\nalong components (r)")
    shuffle_boxes(top, own[f"{ITEM}_shuffles"], order)
    by_component(middle, own[f"{ITEM}_components"], order)
    components_and_neurons(bottom, own[ITEM], order)
save_item(figures, ITEM, tables[ITEM], figure, made_with)
plt.show()
means = summarise(tables[ITEM], ["method", "variant", "metric"])
means.pivot(index=["method", "variant"], columns="metric", values="mean").round(3)

# %% [markdown]
# **Figure 5C.** Above: correlation along the principal components (20, or as many as there are neurons), mean over components
# and test trials, then sessions. Boxes: the same with the forecasts of a session dealt out at random among its trials, the
# middle 95 % of the shuffles; the mean trial forecasts the same for all, so that nothing changes. Middle: each component by
# itself, and its share of the variance. Below: the correlation of single neurons over the same frames, beside that along
# components.
#
# Two things to bear in mind. Every component counts the same, the last like the first; where there are hardly more neurons
# than components, most of them are noise. The table therefore has the mean weighted by the share of the variance as well.
# And noise cannot be forecast: the first components average it out, so that they are expected to be followed better than
# single neurons by any forecast that is right on average. Look at the lines of all methods, not of one alone.

# %% [markdown]
# ## An example

# %%
session = max(recordings.held_in, key=lambda each: len(each.neurons))
trials = compared_trials(session, "test", config)[:1]
basis, future = components[session.name], cut_trials(session, trials, config.context, config.horizon)[1]
paths = {method: project(basis, forecasts[session.name][method, kind][:1])[0] for method, kind in shown[1:]}
figure, axes = plt.subplots(1, 3, figsize=(PAGE, 1.9))
component_example(list(axes), np.arange(1, future[0].shape[1] + 1) / session.rate, project(basis, future)[0], paths)
example = tables[f"{ITEM}_trials"].query("session == @session.name and trial == @trials[0]")
save_item(figures, f"{ITEM}_example", example.assign(item=f"{ITEM}_example"), figure, made_with)
plt.show()

# %% [markdown]
# **The first test trial of the largest held-in session**, along the first three components.
#
# ## The claims
#
# Claims 15 and 16 of the paper as tests, paired over trials, as differences of correlations.

# %%
for item in (f"{ITEM}_trials", f"{ITEM}_components", f"{ITEM}_shuffles"):
    save_item(figures, item, tables[item], None, made_with)
for item in [*tables, f"{ITEM}_example"]:
    update_provenance(figures / "provenance.json", item, made_with)
verdicts(figures, claims=[15, 16])
