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
# # Traces as tokens (Figures 1B, 1C and 2)
#
# The neural quantizer (NQ) gives all neurons one vocabulary: every four frames of a trace become one of $K$ codes. The paper
# claims that little is lost on the way, and no more on mice that the quantizer has never seen. Here both are measured and tested,
# and we see what the vocabulary is made of.
#
# How long it takes, by `profile`: `smoke`, seconds for each cell, shows that everything runs, with models that have learned nothing; `quick`,
# two minutes on one CPU core, is large enough to see the effects; `laptop` is larger and takes about three hours of two cores for all
# notebooks together; `gpu` is meant for one GPU and `paper`, with the paper's sizes, for several (neither was run yet). What was trained
# before is found again.

# %% [markdown]
# **Figure 2**, drawn from the modules with the sizes of profile `paper`. A causal encoder turns each window of a trace into a latent $x_t$;
# the nearest of the codes $e_j$ takes its place, and its index is the token; a decoder makes a trace of the codes again. The example is a neuron
# of a simulated network whose windows are grouped by k-means, in place of a trained quantizer.

# %% tags=["schematic"]
from calm.paper.plots.schematics import schematic

schematic("quantizer")

# %% tags=["parameters"]
import os

# Words after its name change numbers of a profile (see calm/profiles/), as "smoke dat.layers=3 dat_fit.steps=80".
profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "cohort"  # simulation, cohort, or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials, the initial weights and the batches

# %% tags=["setup"]
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from calm.metrics import pearson
from calm.models.codebook import Codebook
from calm.models.quantizer import NeuralQuantizer
from calm.paper.experiments.reconstruction import score_control, score_reconstruction, unsmooth
from calm.paper.experiments.vocabulary import describe_vocabulary
from calm.paper.plots import COLUMN, PAGE, data as panels, example_traces, letters, loss_curves, vocabulary
from calm.paper.results import summarise
from calm.paper.study import Study, show_code
from calm.training.reconstruction import reconstruct

study = Study(profile, dataset, seed=seed)
recordings, results = study.recordings, study.results
for group, sessions in study.groups.items():
    subjects, neurons = {each.subject for each in sessions}, sum(len(each.neurons) for each in sessions)
    print(f"{group}: {len(sessions)} sessions of {len(subjects)} subjects, {neurons} neurons")

# %% [markdown]
# ## From a trace to tokens
#
# The encoder $f$, a causal transformer over windows of $L = 4$ frames, makes a latent of each window, and the nearest code takes its place:
#
# $$x_{1 \dots T/L} = f(y) \quad \text{(Eq. 2)}, \qquad i_t = \arg\min_j \lVert x_t - e_j \rVert^2 \quad \text{(Eq. 3)}.$$
#
# In the code:

# %%
show_code(NeuralQuantizer.encode, Codebook.nearest)

# %% [markdown]
# The decoder, a causal transformer too, makes $\hat y$ of $e_{i_1}, e_{i_2}, \dots$. The loss (Eq. 4-9) asks first that the trace comes back,
#
# $$L_r = \mathrm{MSE}(y, \hat y) + \alpha\,(1 - r(y, \hat y)),$$
#
# and then four things of the codes (Eq. 5-8; $\mathrm{sg}$ stops the gradient):
#
# $$L_c = \lVert x - \mathrm{sg}(e) \rVert^2 \;\text{and}\; \lVert \mathrm{sg}(x) - e \rVert^2, \qquad
# L_{ent} = -H\bigl(\mathbb E\,[\mathrm{Gumbel\text{-}softmax}_\tau(-\lVert x - e \rVert^2)]\bigr), \qquad
# L_{orth} = \lVert E E^\top - I \rVert_F^2.$$
#
# Latents and codes stay together (`commit`, `embed`); all codes are used (`entropy`); and they differ (`orthogonality`). In the code:

# %%
show_code(Codebook.losses)

# %% [markdown]
# The last term, $L_{AR}$ (Eq. 9), asks that tokens can be predicted from those before them: a causal head reads the latents and predicts the
# codes of the next four tokens.

# %%
show_code(NeuralQuantizer.prediction_losses)

# %% [markdown]
# ## Training
#
# One quantizer is trained for all held-in sessions, on their training trials.

# %%
quantizer = study.train_quantizer()
figure, axes = plt.subplots(figsize=(COLUMN, 2))
loss_curves(axes, quantizer.history, "reconstruction, validation (r)")
study.add_history(quantizer.history, item="fig1_training", method="CalM")
study.save("fig1_training", figure)

# %% [markdown]
# Grey: the loss in training, the weighted sum of its terms. Blue: correlation of validation trials with their reconstruction. The first steps
# reconstruct from the latents themselves, with nothing but $L_r$; then k-means places the codes, the other terms join the loss, which rises,
# and the validation score, which is always taken through the codes, goes up.
#
# ## Reconstruction

# %%
score_reconstruction(results, quantizer.model, recordings, item="fig1b")
rows, kind = results.table("fig1b"), "smoothed" if recordings.smoothing < 1 else ""
results.add_rows(rows.query("split == 'test'").assign(variant=kind), item="fig1b_control")
score_control(results, recordings, item="fig1b_control")
control = results.table("fig1b_control").replace({"method": {"CalM": "tokens"}})
kinds = (control["method"] + ", " + control["variant"]).str.strip(", ").map(lambda name: textwrap.fill(name, 12))

# %%
figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.7), sharey=True, width_ratios=[3, kinds.nunique()])
panels.group_dots(axes[0], rows.assign(kind=rows["split"]), "reconstruction (Pearson r)")
panels.group_dots(axes[1], control.assign(kind=kinds), "")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
axes[0].set_xlabel("dots: sessions; bars: mean ± s.e.m.")
axes[1].set_xlabel("test trials")
letters(axes)
study.save("fig1b", figure)
summarise(pd.concat([rows, control]), ["method", "variant", "split", "group"]).pivot_table(
    index=["method", "variant", "split"], columns="group", values="mean", sort=False
).round(4)

# %% [markdown]
# **Figure 1B.** Correlation of a neuron's trace with its reconstruction, mean over neurons, then trials, then sessions. The axis does not
# begin at 0. **A** As in the paper: training, validation and test trials of mice that the quantizer was trained on (held-in) and of those
# that it never saw (held-out). **B**, not in the paper: the test trials again, beside two simple codes of one real number for each token,
# which know nothing of calcium: the **mean** of each token's frames; and the first eight **principal components** of windows of eight tokens,
# the best linear code of that many numbers, fitted to the training trials of held-in sessions.
#
# How high is high? Traces are smoothed before anything is learned from them (notebook 00), and what is smooth is easily coded. So the simple
# codes are tried on the traces before smoothing as well (`not smoothed`), which the quantizer never saw. What tokens are worth is their
# distance to the simple codes of smoothed traces, not to 0: where the means of four frames keep as much, "faithful" says that traces are
# smooth. What only the tokens do is to be one of $K$ symbols.
#
# ## The claim
#
# That held-out subjects are reconstructed *equally* well is not shown by a test that finds no difference: too few sessions find none,
# ever. So the question is turned round. Equal means here that the mean test correlations differ by less than 0.02, and two one-sided
# t tests ask whether a larger difference in either direction can be ruled out. For *faithful* the paper gives no number either; we ask
# for a test correlation over 0.9.

# %%
study.verdicts([1])

# %% [markdown]
# `ours`: mean, or difference of two means; `low`, `high`: its 95 % interval, over mice where there are three or more in a group, else
# over sessions. A claim about mice holds if `p_mice`, from means of mice, is below 0.05, and "for these mice" if only `p_sessions` is.
# It "holds for these sessions" if their means say so, but are too few or too different to speak of others.
#
# ## Examples

# %%
figure, shown = plt.figure(figsize=(PAGE, 3.6)), []
halves = figure.subfigures(1, len(study.groups), squeeze=False)[0]
for half, (group, sessions) in zip(halves, study.groups.items(), strict=True):
    session = max(sessions, key=lambda each: len(each.neurons))
    trial = session.trials_of("test")[:1]
    (reconstructed,), _ = reconstruct(quantizer.model, session, trial)
    original = session.traces[trial[0]][:, : reconstructed.shape[1]]
    neurons = np.argsort(original.var(axis=1))[::-1][:4]
    axes = half.subplots(len(neurons), 1, sharex=True, squeeze=False)[:, 0]
    correlations = pearson(original[neurons], reconstructed[neurons])
    names = [f"neuron {neuron}\nr = {r:.3f}" for neuron, r in zip(neurons, correlations, strict=True)]
    seconds, tokens = np.arange(original.shape[1]) / session.rate, {"CalM, from tokens": reconstructed[neurons]}
    for panel, raw in zip(axes, unsmooth(original, recordings.smoothing)[neurons], strict=True):
        panel.plot(seconds, raw, color=panels.TRACES["as recorded"], lw=0.6, label="before smoothing")
    example_traces(list(axes), seconds, original[neurons], tokens, names)
    axes[0].set_title(f"{group}: subject {session.subject}, trial {trial[0]}", loc="left")
    shown.append(session.name)
results.add_rows(rows.query("session in @shown and split == 'test'"), item="fig1c")
study.save("fig1c", figure)

# %% [markdown]
# **Figure 1C.** The liveliest neurons of the first test trial of the largest session of each group. Grey: as recorded, in the units of the
# smoothed trace. Black (`true`): smoothed, which is what the quantizer is given. Blue: what its tokens keep; r is the correlation of the last
# two. Fast transients are in the grey lines only: smoothing has taken them out before the quantizer could lose them.
#
# ## What the vocabulary is made of

# %%
describe_vocabulary(results, quantizer.model, recordings, item="fig1_vocabulary")
codes, near, pairs = (results.table(f"fig1_vocabulary_{kind}") for kind in ("codes", "neighbours", "transitions"))
used = codes["code"].nunique()
figure = plt.figure(figsize=(PAGE, 4.8))
layout = figure.add_gridspec(3, 2, height_ratios=[1.3, 0.7, 2.4])
axes = [figure.add_subplot(place) for place in (layout[0, :], layout[1, :], layout[2, 0], layout[2, 1])]
vocabulary.alphabet(axes[0], codes)
vocabulary.usage(axes[1], codes)
vocabulary.neighbours(axes[2], near, used)
vocabulary.transitions(axes[3], pairs, used)
letters(axes)
study.save("fig1_vocabulary", figure)
print(f"{used} of {quantizer.model.config.codes} codes in use")
results.table("fig1_vocabulary")[["metric", "value"]].round(3)

# %% [markdown]
# The codes on test trials of held-in sessions, sorted by their mean. **A** What each code is decoded to, on average: four frames, which rise,
# fall or stay. **B** How often each is used. Dead codes would waste vocabulary; the entropy term and the revival of codes that fall out of use
# are there to prevent them. **C** The codes that are nearest to each (cosine similarity; darkest: the nearest), one of which replaces a token
# now and then when the transformer is trained (Eq. 13, notebook 03): codes that are alike in level are neighbours. **D** Which code comes
# next: near the diagonal, since calcium changes little within a token.
#
# In the table, what this says to a model that predicts tokens, in nats: a guess among all $K$ codes costs $\ln K$; one that knows how often
# each is used costs the entropy of a token; one that knows the token before, the third number. The transformer's loss (notebook 03) should be
# lower still. Pairs of codes that were rarely seen make the estimate a little too low.
