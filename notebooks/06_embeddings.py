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
# # What the embeddings hold (Figures 5A, 5B, 6, 7, 8 and Table 9)
#
# The transformer learns a vector for each neuron and one for each session. Nothing tells it what a neuron is tuned to, or
# whose brain and which area a session is from. (In all profiles but `paper` the transformer is also told each neuron's loadings, how it
# takes part in what the neurons of its session do together. Those are fixed inputs; nothing here looks at them.) Two questions:
#
# - **Neurons**: is a neuron's tuning to the task, to cue and choice, to be seen in its embedding?
# - **Sessions**: can mouse, area and layer be told from the embedding of a session, or of a neuron?
#
# Every answer is given twice: in-sample, as in the paper, and for neurons or sessions that were left out; and beside what
# shuffled labels give. On synthetic mice the true tuning is known as well.
#
# How long it takes, by `profile`: `smoke`, seconds for each cell, shows that everything runs, with models that have learned nothing; `quick`,
# one minute on one CPU core after notebook 03, is large enough to see the effects; `laptop` is larger and takes about three hours of two
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

from calm.errors import CalmError
from calm.paper.claims.statistics import permutation_p
from calm.paper.embeddings.gradients import ANGLE, LEFT_OUT
from calm.paper.embeddings.study import ITEMS, TUNING_CORR, TuningStudy, neuron_embeddings, session_embeddings
from calm.paper.embeddings.tuning import find_contrasts, tuning_table
from calm.paper.experiments import classification as kinds
from calm.paper.experiments.forecasting import train_calm
from calm.paper.plots import COLUMN, PAGE, embeddings as panels, letters
from calm.paper.study import RUNS, Study

study = Study(profile, dataset, seed=seed)
recordings, settings, results, groups = study.recordings, study.settings, study.results, study.groups
_, transformers = train_calm(recordings, seed=seed, runs=RUNS)  # those of notebook 04

# %% [markdown]
# ## Tuning
#
# How well a neuron tells two kinds of trials apart (Eq. 19):
#
# $$d' = \frac{\mu_1 - \mu_2}{\sqrt{(\sigma_1^2 + \sigma_2^2) / 2}}$$
#
# For the cue over the frames on the stem of the maze, for the choice over those in its arms, of all trials. A neuron with
# $|d'| > 0.5$ for either counts as tuned. In recordings without a maze, the first two columns of the trial table that have
# two values take the place of cue and choice, over whole trials.

# %%
contrasts = find_contrasts([session for sessions in groups.values() for session in sessions])
names, sides = [contrast.name for contrast in contrasts], {contrast.name: contrast.sides for contrast in contrasts}
for group, sessions in groups.items() if len(contrasts) == 2 else []:
    neurons = tuning_table(sessions, contrasts, truth=recordings.truth_files)
    embeddings = neuron_embeddings(transformers[group].model, sessions)
    tuning = TuningStudy(results, group, embeddings, neurons, names, draws=settings.shuffles, refits=settings.refits)
    print(f"{group}: {len(neurons)} neurons of {len(sessions)} sessions", *tuning.run(), sep="\n  ")
if len(contrasts) < 2:
    print("Trials have fewer than two columns with two values: name some under `conditions` in the description.")

# %% [markdown]
# ## Principal components of tuned neurons
#
# Principal components know nothing of the tuning. Do neurons that prefer different cues, or choices, lie apart?

# %%
for group in groups:
    item = ITEMS[group].principal
    if item in results.items:
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 3), squeeze=False)
        for panel, name in zip(axes[0], names, strict=True):
            shown, left_out = results.table(f"{item}_neurons").query("variant == @name"), f"{name}, {LEFT_OUT}"
            draws = results.table(f"{item}_null").query("variant == @left_out")
            panels.preference_plane(panel, shown, name, sides[name], draws)
        study.save(item, figure)

# %% [markdown]
# **Figure 5A (held-in mice) and 8A (held-out mice).** First two principal components of the embeddings of tuned neurons, after
# robust scaling; every dot is a neuron, in the colour of what it prefers. Below, whether the two kinds lie apart: the correlation of what
# neurons prefer with the best direction of the plane, for neurons that were left out when it was found (mean over five folds), and p, the
# share of shuffled labels that reach it.
#
# ## Linear discriminants
#
# The signs of the two d' make four classes. Embeddings are scaled robustly and reduced to 50 principal components (fewer
# where there are fewer than five neurons for each); linear discriminant analysis then finds the plane in which the classes
# lie farthest apart. The axis of a variable is the direction in that plane along which its d' is followed best, which is that
# of a linear regression of d' on the two coordinates.

# %%
for group in groups:
    item = ITEMS[group].discriminant
    if item in results.items:
        overall = results.table(item).query("session == 'all'")
        planes = [results.table(f"{item}_{kind}") for kind in ("neurons", "angles")]
        angle = overall.set_index("metric").loc[ANGLE]
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.7), squeeze=False)
        for panel, name in zip(axes[0], names, strict=True):
            (r,) = overall[(overall["metric"] == TUNING_CORR) & (overall["variant"] == f"{name}, {LEFT_OUT}")]["value"]
            text = f"left-out r = {r:z.2f}, n = {angle['n']} neurons, angle {angle['value']:.0f}°"
            panels.gradient_plane(panel, *planes, name, sides[name], text)
        study.save(item, figure)
        print(overall[["metric", "variant", "value", "n"]].round(3).to_string(index=False))

# %% [markdown]
# **Figure 5B (held-in mice) and 8B (held-out mice).** Neurons tuned to either variable, coloured by d' (the ends of the colour bar are its
# 95 % quantile; it says what neurons with positive and with negative d' prefer), and the axes of both variables, with the angle between them.
# r: correlation of d' with the place along its axis, for left-out neurons.
#
# In-sample correlation is above zero even for embeddings that hold nothing: plane and axes were fitted to the very neurons
# they are judged on. For left-out neurons it is not; there it is the mean over five folds. Where the truth is known, the
# correlation with the true tuning is given for the same axes, beside the correlation of d' itself with it, since d' comes
# from a limited number of trials.
#
# A word on the angle. Discriminant analysis measures distance in units of the spread within the classes, and so axes of two
# variables tend to be orthogonal wherever tuning to one says nothing about tuning to the other. The correlation of the two d'
# over neurons is in the table.
#
# ## Shuffled labels
#
# The pairs of d' are dealt out anew among the neurons of each session, plane and axes are found anew, and the correlation is
# taken again. The p value is the share of shuffles that reach what was observed, which is counted among them.

# %%
for item in [item for item in ("fig7a", "fig7b", "fig8c") if item in results.items]:
    variants = results.table(item).groupby("variant", sort=False)
    figure, axes = plt.subplots(1, variants.ngroups, figsize=(PAGE * variants.ngroups / 4, 2.2), squeeze=False)
    for panel, (variant, draws) in zip(axes[0], variants, strict=True):
        panels.shuffle_histogram(panel, draws, f"r, {variant}", permutation_p(draws["value"].to_numpy()))
    axes[0, 0].set_ylabel("number of shuffles")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    letters(axes[0])
    study.save(item, figure)

# %% [markdown]
# **Figure 7A (cue), 7B (choice), 8C (held-out mice).** Correlation of d' with the coordinate along its axis: as observed, and
# with labels shuffled within sessions; in-sample and for left-out neurons. n: the neurons that are tuned to either variable (|d'| > 0.5).
#
# ## Anything else?
#
# The plane of the discriminants is narrow. A ridge regression on all components, fitted to all neurons but those it is judged
# on, may find what the plane misses: d', and for synthetic neurons what they were made with. `position` is the strength of
# the tuning to a place in the maze and `place` which of eight; `baseline` and `amplitude` are those of rate and transients.

# %%
for item in [ITEMS[group].read_out for group in groups if ITEMS[group].read_out in results.items]:
    figure, axes = plt.subplots(figsize=(COLUMN, 2.6))
    panels.read_outs(axes, results.table(item))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    study.save(item, figure)

# %% [markdown]
# **What can be read out of neuron embeddings**, held-in mice first: correlation of target and prediction for left-out
# neurons, mean over five folds, beside shuffles within sessions.
#
# ## Mouse, area and layer
#
# Logistic regression, cross-validated in five folds, or as many as the rarest class has members; a class with a single member
# is left out. The paper leaves out neurons at random. Then a classifier of neurons is trained on other neurons of the same
# session, and may know the session instead of the mouse or area; so neurons of whole sessions are left out as well. Labels
# are shuffled among sessions, and the classifiers fitted anew. Held-in and held-out sessions are pooled, as in the paper. The embeddings of
# the latter were trained later, with everything else frozen: if that leaves a mark, it tells the held-out mice from the others.

# %%
sessions = [session for group in groups.values() for session in group]
table = tuning_table(sessions)
some = kinds.draw_neurons(len(table), seed)
vectors = np.concatenate([neuron_embeddings(transformers[group].model, groups[group]) for group in groups])[some]
of_sessions = np.concatenate([session_embeddings(transformers[group].model, groups[group]) for group in groups])
sources = {
    kinds.SESSION: (of_sessions, table.drop_duplicates("session"), True),
    kinds.NEURON: (vectors, table.iloc[some], False),
    kinds.NEW_SESSION: (vectors, table.iloc[some], True),
}
for source, (embeddings, rows, whole) in sources.items():
    for attribute in [attribute for attribute in kinds.CONFUSIONS if attribute in rows]:
        how = {"whole_sessions": whole, "draws": settings.refits, "seed": seed}
        try:
            classified = kinds.classify_embeddings(embeddings, rows[attribute], rows["session"], **how)
        except CalmError as reason:
            print(f"{source}, {attribute}: {reason}")
            continue
        kinds.add_table9(results, source, attribute, classified)
        print(f"{source}, {attribute}: {classified.note}")

# %%
for attribute, item in kinds.CONFUSIONS.items():
    if item in results.items:
        scores = results.table("table9").set_index(["variant", "metric"])["value"].loc[kinds.SESSION]
        figure, axes = plt.subplots(figsize=(COLUMN, 2.8))
        accuracy, chance = (scores[f"accuracy {attribute}{which}"] for which in ("", ", shuffled labels"))
        panels.confusion(axes, results.table(item), attribute, accuracy, chance)
        study.save(item, figure)
if "table9" in results.items:
    study.save("table9")
    print(results.table("table9").pivot_table(index="metric", columns="variant", values="value", sort=False).round(3))

# %% [markdown]
# **Figure 6A (mouse) and 6B (area); layer is not in the paper's figure.** How many left-out sessions of each class (rows) were
# taken for each class (columns), from session embeddings; empty where there was none. Chance: mean accuracy with shuffled labels.
#
# **Table 9.** Accuracy; the share of the largest class is what a guess without looking gets, the accuracy with shuffled labels
# what the classifier gets where there is nothing to know. Balanced accuracy is the mean over classes.

# %% [markdown]
# ## The claims
#
# Claims 10 to 14 and 17 of the paper as tests; 15 and 16 are those of notebook 07. What is compared (`ours`, with a 95 %
# interval):
#
# - 10 and 11: the correlation for left-out neurons; 13: the in-sample correlation less its mean over shuffles.
# - 12: the angle, with the interval of resampled neurons. It holds if all of the interval is within 15 degrees of a right
#   angle, does not hold if none of it is, and is left open otherwise, or where there are no gradients (13).
# - 14: all of these for held-out mice.
# - 17: accuracy less its mean over shuffles. "Hardly", for neuron embeddings, is taken to be at most 0.1. It takes five sessions of
#   each mouse, area or layer: with fewer, a classifier learns the session instead.
#
# `p` is about these sessions, `p_sessions` about other sessions of these mice, `p_mice` about other mice where there are three or
# more; all after Holm.

# %%
study.verdicts([10, 11, 12, 13, 14, 17])
