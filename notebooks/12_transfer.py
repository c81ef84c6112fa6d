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
# # What works on a recording that training never saw
#
# "Foundation model" promises that what was learned on some recordings is of use on others. Two parts of CalM can be asked that:
#
# - **the tokenizer.** One comes with calm (`calm.load_pretrained("small")`). It was trained on nothing but random synthetic traces of any
#   indicator, frame rate, activity and noise. What does it keep of recordings that it never saw, *zero-shot*?
# - **the transformer.** It is pretrained on some subjects, and adapted to others by training the embeddings of their neurons (Sec. 3.2).
#   How many trials does that take, and is it better than to train on the new subject alone, *few-shot*? One comes with calm, too, and knows
#   populations of the same synthetic recordings only. Is it of use where no other subject of the same experiment was recorded?
#
# The paper shows neither. By default the recordings are synthetic mice and simulated networks; `dataset` takes the description of yours.
#
# How long it takes, by `profile`: `smoke`, seconds for each cell, shows that everything runs, with models that have learned nothing;
# `quick`, about four minutes of one CPU core after notebook 03; `laptop`, twenty. `gpu` and `paper` are larger, and were not run yet. What was
# trained before is found again.

# %% tags=["parameters"]
import os

# Words after its name change numbers of a profile (see calm/profiles/), as "smoke dat.layers=3 dat_fit.steps=80".
profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "cohort"  # simulation, cohort, or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials, the initial weights and the batches
weights: str = "small"  # that come with calm, or the folder of others
drawn: int = 100  # recordings of the corpus, to see what it covers
counts: list = [0, 1, 5, 20]  # training trials of the new session; all are taken besides

# %% tags=["setup"]
import matplotlib.pyplot as plt

import calm
from calm.config.synthetic import COHORT, SIMULATION, CorpusConfig
from calm.paper.experiments import coverage, transfer
from calm.paper.experiments.forecasting import search_transformer
from calm.paper.experiments.reconstruction import score_zero_shot
from calm.paper.plots import PAGE, join_legends, letters
from calm.paper.plots.dots import dots
from calm.paper.plots.transfer import coverage_dots, few_trials
from calm.paper.study import RUNS, Study
from calm.paths import DATA
from calm.synthetic.cohort import DESCRIPTION, make_cohort
from calm.synthetic.corpus import draw_corpus
from calm.synthetic.simulation import simulate

study = Study(profile, dataset, seed=seed)
recordings, settings, results = study.recordings, study.settings, study.results
pretrained = calm.load_pretrained(weights)
networks = [simulate(settings.simulation, network).session for network in settings.simulation.held_out_seeds]
description = make_cohort(settings.cohort, DATA) / DESCRIPTION if dataset == COHORT else dataset
recorded = networks if dataset == SIMULATION else calm.load_sessions(description)
known = {"simulated networks": networks} if dataset == COHORT else {}
known[recordings.name] = recorded

# %% [markdown]
# ## What both were trained on
#
# A recording is a point: the medians over its neurons of the correlation of successive frames, which noise lowers; of frames four apart,
# as long as a token; and of skewness, which is large where spikes are few and high. Grey are recordings of the corpus. What lies outside of
# them, neither tokenizer nor transformer has seen the like of.

# %%
corpus = draw_corpus(CorpusConfig(**{**pretrained.recipe["corpus"], "recordings": drawn}), seed=seed + 1)
coverage.score_coverage(results, {"corpus": corpus, **known})
table, (near, far) = results.table(coverage.ITEM), coverage.LAGS
figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.4))
coverage_dots(axes[0], table, near, far)
coverage_dots(axes[1], table, coverage.RATE, coverage.SKEWNESS)
axes[1].set_xscale("log")
axes[1].set_xticks([2, 5, 10, 20, 60], ["2", "5", "10", "20", "60"])
axes[1].minorticks_off()
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
letters(axes)
study.save(coverage.ITEM, figure)

# %% [markdown]
# ## Tokens of recordings that it never saw
#
# The correlation of each trace with what comes back from its tokens, mean over neurons and trials, for traces as they were recorded and
# lightly smoothed (each frame counts half, the past half). Beside it, what the means of as many frames as a token has would keep. Noise
# from frame to frame has no structure that a few hundred codes could hold, so that less than 1 of a raw trace *should* be kept; and where the means
# keep as much, tokens have no merit but to be tokens. (The axis of the figure does not begin at 0.)

# %%
figure, axes = plt.subplots(1, len(known), figsize=(PAGE, 1.6), sharex=True, sharey=True, squeeze=False)
for axis, (group, sessions) in zip(axes[0], known.items(), strict=True):
    score_zero_shot(results, pretrained, sessions, item="zero_shot", group=group)
    rows = results.table("zero_shot").query("group == @group")
    order = list(dict.fromkeys(zip(rows["method"], rows["variant"], strict=True)))
    dots(axis, rows, order, "correlation of trace and reconstruction")
    axis.set_title(group)
study.save("zero_shot", figure)
results.table("zero_shot").groupby(["group", "method", "variant"], sort=False)["value"].describe().round(3)

# %% [markdown]
# ## How many trials a new session takes
#
# The transformer of notebook 03, which was pretrained on the held-in subjects, and one session of a held-out one. **Adapted** is that
# transformer, of which the embeddings of the new neurons are trained; with 0 trials, all neurons are average ones to it. **Adapted from what
# ships** is the transformer that comes with calm, treated alike: what `calm forecast` does before it fine-tunes. **From scratch** are
# a transformer on the tokens of the tokenizer above, and POCO, both on the session
# alone and for as many steps as a single session is worth in this profile; and without training, ridge VAR, the mean trial, and a decay to the mean.
#
# All have the same validation trials, which choose weights and penalties, and the scale of all training trials, whatever the number of
# trials that they learn from: with few, that is generous to all of them.

# %%
if recordings.held_out:
    quantizer = study.train_quantizer()
    others = quantizer, search_transformer(quantizer, recordings.held_in, settings, seed=seed, runs=RUNS).chosen
    few = {"others": others, "weights": pretrained, "runs": RUNS}
    transfer.score_few_trials(results, recordings.held_out[0], settings, counts, **few)
    table = results.table(transfer.ITEM)
    shown = table[table["method"] != "persistence"]
    figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.8))
    few_trials(axes[0], shown[shown["metric"] == "corr"], "forecasts, test trials (r)")
    few_trials(axes[1], shown[(shown["metric"] == "training (s)") & (shown["variant"] != "")], "training (s)")
    axes[1].set_ylim(bottom=0)
    join_legends(axes)
    letters(axes)
    study.save(transfer.ITEM, figure)
else:
    print("No subject is held out: name one under `held_out` in the description.")

# %% [markdown]
# Left: correlation of the forecasts of test trials with what came. Where a dashed line is below the solid one of its colour, what was learned
# elsewhere helps; where they meet, the session has enough trials of its own. Right: what the trainings took, those of
# networks; that of the transformer on the held-in subjects is not counted, and is done once. Every dot is one training (n = 1): differences of a
# few hundredths mean little.
