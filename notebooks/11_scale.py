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
# # How much it takes until embeddings hold tuning
#
# Notebook 06 asks what the embeddings of neurons hold. How much depends on what the transformer was trained with. The paper has
# 286 sessions of a thousand neurons and 300 trials; nobody who tries the method on a few recordings of their own has. So the
# transformer is trained again with less of one thing at a time, on the same tokens:
#
# - **trials**: a share of each session's training trials, in as many steps;
# - **neurons**: a share of each session's neurons, in as many steps;
# - **steps**: the same data, a shorter training.
#
# If a line still rises at its right end, more of that thing would help. If it is flat, it is not what is missing.
#
# How long it takes, by `profile`: `smoke`, seconds for each cell, shows that everything runs, with models that have learned nothing; `quick`,
# two minutes on one CPU core after notebook 03, is large enough to see the effects; `laptop` is larger and takes about three hours of two
# cores for all notebooks together; `gpu` is meant for one GPU and `paper`, with the paper's sizes, for several (neither was run yet). What
# was trained before is found again.

# %% tags=["parameters"]
import os

# Words after its name change numbers of a profile (see calm/profiles/), as "smoke dat.layers=3 dat_fit.steps=80".
profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "cohort"  # simulation, cohort, or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials, the initial weights and the batches
shares: list = [0.25]  # of trials, neurons and steps; all of each is trained besides

# %% tags=["setup"]
import matplotlib.pyplot as plt

from calm.paper.embeddings.scale import CHANCE, FORECAST, train_scales
from calm.paper.embeddings.study import READ_OUT_CORR
from calm.paper.embeddings.tuning import find_contrasts
from calm.paper.experiments.forecasting import search_transformer
from calm.paper.plots import PAGE, letters
from calm.paper.plots.embeddings import scale_lines
from calm.paper.study import RUNS, Study

study = Study(profile, dataset, seed=seed)
recordings, settings, results = study.recordings, study.settings, study.results
quantizer = study.train_quantizer()
tries = search_transformer(quantizer, recordings.held_in, settings, seed=seed, runs=RUNS)  # those of notebook 03
chosen = settings.changed(dat_fit=settings.dat_fit.changed(learning_rate=tries.learning_rate))

# %% [markdown]
# A ridge regression on the embeddings of four fifths of the neurons predicts d' of the others (notebook 06), and for synthetic mice what
# the neurons were made with. A neuron's tuning is measured on all trials, whatever the transformer was trained with.

# %%
if find_contrasts(recordings.held_in):
    train_scales(results, quantizer, recordings, chosen, shares, runs=RUNS)
    scales = list(results.table("fig5_scale").groupby("part", sort=False))
    figure, axes = plt.subplots(2, len(scales), figsize=(PAGE, 3.6), sharey="row", sharex="col")
    for (upper, lower), (part, rows) in zip(axes.T, scales, strict=True):
        shown = rows[~rows["variant"].isin(["true cue", "true choice"])]  # all but the same as their d'
        scale_lines(upper, shown[shown["metric"] == READ_OUT_CORR], shown[shown["metric"] == CHANCE])
        scale_lines(lower, rows[rows["metric"] == FORECAST], rows[:0])
        counts = rows.sort_values("share")["n"].unique()
        lower.set_xlabel(f"share of the {part}\n(n = {', '.join(map(str, counts))} neurons)")
    axes[0, 0].set_ylabel("read-out, left-out\nneurons (r)")
    axes[1, 0].set_ylabel("forecasts, validation\ntrials (r)")
    if len(axes[0, 0].lines):
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    letters(axes.flat)
    study.save("fig5_scale", figure)
else:
    print("Trials have no column with two values: name one under `conditions` in the description.")

# %% [markdown]
# Upper row: correlation of d' (lines) and, for synthetic mice, of what neurons are really made of (dashed; true cue and choice are as
# their d', and in the table) with what is read out of the embeddings of left-out neurons, mean over five folds. The grey band is what
# neurons shuffled within their session reach in 97.5 % of the shuffles. Lower row: correlation of forecasts of validation trials, by
# which the transformer's weights are chosen. Every dot is one training (n = 1), so differences of a few hundredths mean little; and look at
# the axis of the lower row, which does not begin at 0.
#
# With fewer neurons there are also fewer embeddings to learn the regression from, and its result says less; and forecasts are scored on
# the neurons that are left, so that the three are not of the same neurons.
