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
# # Traces as tokens (Figures 1B and 1C)
#
# The neural quantizer (NQ) gives all neurons one vocabulary: every four frames of a trace become one of $K$ codes. The paper
# claims that this loses little, and loses no more on mice that the quantizer has never seen. Here both are measured and tested,
# and we look at what the vocabulary is made of.

# %% [markdown]
# **Figure 2**, drawn from the modules with the sizes of profile `paper`. A causal encoder turns each window of a trace into a latent $x_t$;
# the nearest of the codes $e_j$ takes its place, and its index is the token; a decoder makes a trace of the codes again. The example is a neuron
# of a simulated network whose windows are grouped by k-means, in place of a trained quantizer.

# %% tags=["schematic"]
from calm.paper.plots.schematics import schematic

schematic("quantizer")

# %% tags=["parameters"]
import os

profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "cohort"  # simulation, cohort, or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials, the initial weights and the batches

# %%
import matplotlib.pyplot as plt
import numpy as np

from calm.data.session import SPLITS
from calm.metrics import pearson
from calm.paper.claims.table import verdicts
from calm.paper.experiments.reconstruction import score_control, score_reconstruction
from calm.paper.plots import COLUMN, PAGE, codebook_usage, example_traces, loss_curves, use_style
from calm.paper.plots.data import six_bars
from calm.paper.plots.dots import dots
from calm.paper.provenance import provenance
from calm.paper.results import Results, summarise
from calm.paths import RUNS
from calm.paper.results import figures_folder
from calm.profile import load_profile
from calm.recordings import load_recordings
from calm.training.reconstruction import reconstruct
from calm.training.tasks import train_quantizer

use_style()
recordings = load_recordings(dataset, load_profile(profile), seed=seed)
results, figures = Results(recordings.name, seed), figures_folder(profile, recordings.name)
for group, sessions in recordings.groups.items():
    subjects, neurons = {each.subject for each in sessions}, sum(len(each.neurons) for each in sessions)
    print(f"{group}: sessions {len(sessions)}, subjects {len(subjects)}, neurons {neurons}")

# %% [markdown]
# ## Training
#
# The encoder and the decoder are causal transformers; in between, a latent $x_t$ is replaced by the nearest code $e_i$. The loss
# (Eq. 4-9) is reconstruction, $\mathrm{MSE} + \alpha(1 - r)$, plus terms that keep latents and codes together (commit, embed),
# keep all codes in use (entropy), keep them apart (orthogonality), and make them predictable (AR and its alignment).
# One quantizer is trained for all held-in sessions, on their training trials.

# %%
settings = recordings.profile
quantizer = train_quantizer(recordings.held_in, settings, seed=seed, runs=RUNS)
figure, axes = plt.subplots(figsize=(COLUMN, 2))
loss_curves(axes, quantizer.history, "reconstruction, validation (r)")
plt.show()
quantizer.history.iloc[[0, -1]].round(3)

# %% [markdown]
# The first steps reconstruct from the latents themselves; then k-means places the codes, and the validation score, which is
# always taken through the codes, jumps.
#
# ## Reconstruction

# %%
score_reconstruction(results, quantizer.model, recordings, item="fig1b")
rows = results.table("fig1b")
made_with = provenance(recordings, results)
figure, axes = plt.subplots(figsize=(COLUMN, 2.4))
six_bars(axes, rows, SPLITS, "reconstruction (Pearson r)")
results.save(figures, "fig1b", figure, made_with)
plt.show()
summarise(rows, ["group", "split"]).round(4)

# %% [markdown]
# **Figure 1B.** Correlation of a neuron's trace with its reconstruction from tokens, mean over neurons, then trials, then
# sessions, which the dots are. The quantizer was trained on the training trials of held-in sessions; the other five bars are of trials that it never saw,
# the three held-out ones also of neurons and subjects.
#
# ## Is that much?
#
# A correlation close to 1 means little if the traces are easy to keep, and smoothing makes them so. The control: two codes with as
# many numbers as there are tokens, which know nothing of calcium. The **mean** of each token's frames; and the first eight
# **principal components** of windows of eight tokens, the best linear code of that many numbers, fitted to the training trials
# of held-in sessions. Both keep real numbers, where a token is one of $K$ codes; and neither has a decoder that looks back.

# %%
score_control(results, recordings, item="fig1b_control")
kind = "smoothed" if recordings.smoothing < 1 else ""
results.add_rows(rows.query("split == 'test'").assign(variant=kind), item="fig1b_control")
control = results.table("fig1b_control")
order = list(dict.fromkeys(control[["method", "variant"]].itertuples(index=False, name=None)))
figure, axes = plt.subplots(1, len(recordings.groups), figsize=(PAGE, 1.8), sharex=True, sharey=True, squeeze=False)
for panel, group in zip(axes[0], recordings.groups, strict=True):
    dots(panel, control.query("group == @group"), order, f"{group}, test trials (Pearson r)")
results.save(figures, "fig1b_control", figure, made_with)
plt.show()
summarise(control, ["method", "variant", "group"]).pivot(index=["method", "variant"], columns="group", values="mean").round(3)

# %% [markdown]
# What simple codes keep of the same test trials, as they were smoothed for all of this notebook, and before (`not smoothed`). The
# quantizer was trained on smoothed traces and is not asked about the others. What tokens are worth is their distance to the two
# codes of smoothed traces, not to 0: if means of four frames keep as much, "faithful" says that the traces are smooth. What tokens do that
# these codes do not is to be one of $K$ symbols.
#
# ## The claim
#
# That held-out subjects are reconstructed *equally* well is not shown by a test that finds no difference: too few sessions find none,
# ever. So the question is turned round. Equal means here that the mean test correlations differ by less than 0.02, and two one-sided
# t tests ask whether a larger difference in either direction can be ruled out. For *faithful* the paper gives no number either; we ask
# for a test correlation over 0.9.

# %%
verdicts(figures, claims=[1])

# %% [markdown]
# `ours`: mean, or difference of two means; `low`, `high`: its 95 % interval, over mice where there are three or more in a group, else
# over sessions. A claim about mice holds if `p_mice`, from means of mice, is below 0.05, and "for these mice" if only `p_sessions` is.
# It "holds for these sessions" if their means say so, but are too few or too different to speak of others.
#
# ## Examples and vocabulary

# %%
figure, shown = plt.figure(figsize=(PAGE, 3.4)), []
halves = figure.subfigures(1, len(recordings.groups), squeeze=False)[0]
for half, (group, sessions) in zip(halves, recordings.groups.items(), strict=True):
    session = max(sessions, key=lambda each: len(each.neurons))
    trial = session.trials_of("test")[:1]
    (reconstructed,), _ = reconstruct(quantizer.model, session, trial)
    original = session.traces[trial[0]][:, : reconstructed.shape[1]]
    neurons = np.argsort(original.var(axis=1))[::-1][:4]
    axes = half.subplots(len(neurons), 1, sharex=True, squeeze=False)[:, 0]
    names = [f"r = {r:.2f}" for r in pearson(original[neurons], reconstructed[neurons])]
    seconds, tokens = np.arange(original.shape[1]) / session.rate, {"CalM, from tokens": reconstructed[neurons]}
    example_traces(list(axes), seconds, original[neurons], tokens, names)
    axes[0].set_title(f"{group}: subject {session.subject}", loc="left")
    shown.append(session.name)
results.add_rows(rows.query("session in @shown and split == 'test'"), item="fig1c")
results.save(figures, "fig1c", figure, made_with)
plt.show()

# %% [markdown]
# **Figure 1C.** The liveliest neurons of the first test trial of the largest session of each group, and what their tokens keep of
# them; r: correlation of the two.

# %%
tokens = [reconstruct(quantizer.model, session, session.trials_of("test"))[1] for session in recordings.held_in]
codes = np.concatenate([trial.ravel() for trials in tokens for trial in trials])
counts = np.bincount(codes, minlength=quantizer.model.config.codes)
figure, axes = plt.subplots(figsize=(COLUMN, 1.8))
codebook_usage(axes, counts)
plt.show()

# %% [markdown]
# How often each code is used on test trials of held-in sessions. Dead codes would waste vocabulary; the entropy term and the revival
# of codes that fall out of use are there to prevent them.
