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
#
# How long it takes, by `profile`: `smoke`, seconds for each cell, shows that everything runs, with models that have learned nothing; `quick`,
# two minutes on one CPU core after notebook 04, is large enough to see the effects; `laptop` is larger and takes about three hours of two
# cores for all notebooks together; `gpu` is meant for one GPU and `paper`, with the paper's sizes, for several (neither was run yet). What
# was trained before is found again.

# %% tags=["parameters"]
import os

# Words after its name change numbers of a profile (see calm/profiles/), as "smoke dat.layers=3 dat_fit.steps=80".
profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "cohort"  # simulation, cohort, or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials, the initial weights and the batches

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np

from calm.baselines.validation import compared_trials
from calm.data.session import cut_trials
from calm.paper.claims.comparisons import chosen_variant
from calm.paper.embeddings.dynamics import COMPONENT_CORR, ForecastSession, add_dynamics
from calm.paper.experiments import forecasting as forecasts
from calm.paper.experiments.methods import MethodSet
from calm.paper.plots import PAGE, bars, dynamics as panels, example_traces, letters
from calm.paper.results import Results, summarise
from calm.paper.study import RUNS, Study

study = Study(profile, dataset, seed=seed)
settings, results, groups = study.settings, study.results, study.groups
config = settings.forecast
quantizer, transformers = forecasts.train_calm(study.recordings, seed=seed, runs=RUNS)  # those of notebook 04
rivals = forecasts.train_rivals(study.recordings, seed=seed, runs=RUNS)

# %% [markdown]
# ## Forecasts
#
# CalM can go on after a token in several ways. The one that forecasts validation trials best stands for it. POCO has the same
# sessions; ridge VAR and the mean trial are fitted to each session.

# %%
validation, methods = Results(study.recordings.name, seed), {}
for group, session in study.recordings.each():
    trained = forecasts.trained_on_many(session, transformers[group], quantizer, rivals[group], settings)
    calm = MethodSet({name: method for name, method in trained.methods.items() if name[0] == "CalM"})
    trials = compared_trials(session, "val", config)
    predicted = forecasts.forecast_trials(calm, session, trials, config)
    forecasts.score_forecasts(validation, predicted, session, trials, config, item="fig5c", group=group)
    methods[session.name] = trained.methods
variant = chosen_variant(validation.table("fig5c_trials"))
shown = [("mean trial", ""), ("ridge VAR", ""), ("POCO", ""), ("CalM", variant)]
print(f"CalM is rolled out by: {variant}")

# %%
forecast = {}
for group, sessions in groups.items():
    for session in sessions:
        trials = compared_trials(session, "test", config)
        futures = cut_trials(session, trials, config.context, config.horizon)[1]
        compared = MethodSet({name: methods[session.name][name] for name in shown})
        predicted = forecasts.forecast_trials(compared, session, trials, config)
        forecast[session.name] = ForecastSession(session.name, trials, futures, predicted)
    add_dynamics(results, group, [forecast[session.name] for session in sessions], draws=settings.shuffles)

# %% [markdown]
# ## Along the components, and neuron by neuron

# %%
order = [method for method, _ in shown]
figure, axes = plt.subplots(3, len(groups), figsize=(PAGE, 6.2), squeeze=False, sharey="row")
letters(axes.flat)
for (top, middle, bottom), group in zip(axes.T, groups, strict=True):
    rows, shuffled, components = (results.table(f"fig5c{kind}") for kind in ("", "_shuffles", "_components"))
    rows = rows[rows["group"] == group].assign(variant="")
    bars(top, rows[rows["metric"] == COMPONENT_CORR], order, "correlation along\ncomponents (r)")
    panels.shuffle_boxes(top, shuffled[shuffled["group"] == group], order)
    panels.by_component(middle, components[components["group"] == group], order)
    panels.components_and_neurons(bottom, rows, order)
    for panel in (top, middle, bottom):
        panel.set_title(group)
handles, names = zip(*[panel.get_legend_handles_labels() for panel in axes[:2, 0]], strict=True)
figure.legend([*handles[1], *handles[0]], [*names[1], *names[0]], loc="outside upper center", ncols=6)
study.save("fig5c", figure)
means = summarise(results.table("fig5c"), ["group", "method", "variant", "metric"])
means.pivot(index=["group", "method", "variant"], columns="metric", values="mean").round(3)

# %% [markdown]
# **Figure 5C**, held-in mice on the left, held-out mice on the right. Upper row: correlation along the principal components (20, or as
# many as there are neurons), mean over components and test trials, then sessions. Boxes: the same with the forecasts of a session dealt out
# at random among its trials, the middle 95 % of the shuffles; p: the share of shuffles that do as well as what was observed, which is counted
# among them. The mean trial forecasts the same for all trials, so that nothing changes (p = 1). Middle row: each component by itself, and its
# share of the variance. Lower row: the correlation of single neurons over the same frames, beside that along components.
#
# Two things to bear in mind. Every component counts the same, the last like the first; where there are hardly more neurons
# than components, most of them are noise. The table therefore has the mean weighted by the share of the variance as well.
# And noise cannot be forecast: the first components average it out, so that they are expected to be followed better than
# single neurons by any forecast that is right on average. So compare all methods with each other.

# %% [markdown]
# ## An example

# %%
session = max(study.recordings.held_in, key=lambda each: len(each.neurons))
shown_session, first = forecast[session.name], forecast[session.name].trials[0]
paths = {name[0]: shown_session.project(shown_session.forecasts[name][:1])[0] for name in shown[1:]}
figure, axes = plt.subplots(3, 1, figsize=(PAGE, 3.2))
true = shown_session.project(shown_session.futures[:1])[0]
names = [f"component {number}" for number in (1, 2, 3)]
example_traces(list(axes), np.arange(1, true.shape[1] + 1) / session.rate, true, paths, names, unit="a.u.")
axes[-1].set_xlabel("time since end of context (s)")
axes[0].set_title(f"subject {session.subject}, trial {first}", loc="left")
results.add_rows(results.table("fig5c_trials").query("session == @session.name and trial == @first"), item="fig5c_example")
study.save("fig5c_example", figure)

# %% [markdown]
# **The first test trial of the largest held-in session**, along the first three components.
#
# ## The claims
#
# Claims 15 and 16 of the paper as tests, paired over trials, as differences of correlations.

# %%
study.verdicts([15, 16])
