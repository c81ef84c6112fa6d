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
# # Decoding behaviour (Figures 4B, 4C and 4D)
#
# The backbone that forecasts is frozen, and a small head reads the behaviour off its features. The questions:
#
# - **One session at a time** (Fig. 4B): do heads on CalM's features decode better than GLM, reduced-rank regression, a
#   convolutional network and POYO+ do from the traces? And do the same heads on the raw traces do as well?
# - **Look-ahead**: calcium lags behind behaviour. How much of a decoder's score is that it sees later frames?
# - **Many sessions** (Fig. 4C): one head for all, against one POYO+ for all, on their sessions and on new mice.
# - **Few labels**: what pretraining is for. How many trials with known behaviour does each decoder need?
#
# How long it takes, by `profile`: `smoke`, seconds for each cell, shows that everything runs, with models that have learned nothing; `quick`,
# ten minutes on one CPU core after notebook 03, is large enough to see the effects; `laptop` is larger and takes about three hours of
# two cores for all notebooks together; `gpu` is meant for one GPU and `paper`, with the paper's sizes, for several (neither was run yet).
# What was trained before is found again.

# %% [markdown]
# **Figure 4A**, drawn from the modules with the sizes of profile `paper`, for three channels of behaviour. The backbone is frozen. Of a new
# session only the weights of its neurons (dashed) have to be trained.

# %% tags=["schematic"]
from calm.paper.plots.schematics import schematic

schematic("heads")

# %% tags=["parameters"]
import os

# Words after its name change numbers of a profile (see calm/profiles/), as "smoke dat.layers=3 dat_fit.steps=80".
profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "cohort"  # or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials, the initial weights and the batches
singles: int = 3  # sessions that every decoder is also trained on one by one; the fewer, the sooner a figure
look_aheads: list = [0, 1, 2, 3, 4, 5, 6, 7, 8]  # frames after the present one that GLM and RRR are tried with
trained_look_aheads: list = [0, 3, 7]  # of these, those that networks are trained for
shares: list = [0.1, 0.25, 1.0]  # of the training trials whose behaviour is known
trial_column: str = ""  # of the trials, whose two values are told apart; empty takes the first that has two
kinds: list = []  # two values of it, if it has more: the one to be told from the other first

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np

from calm.errors import CalmError
from calm.models.heads import GLUHead, LinearHead
from calm.paper.experiments import classification, decoding
from calm.paper.experiments.methods import add_costs
from calm.paper.plots import COLUMN, PAGE, example_traces
from calm.paper.plots.decoding import channel_dots, look_ahead_curve, share_curve
from calm.paper.results import summarise
from calm.paper.study import RUNS, Study, show_code

study = Study(profile, dataset, seed=seed)
recordings, settings, results = study.recordings, study.settings, study.results
window, channels = settings.quantizer.window, recordings.held_in[0].behaviour_names
look_ahead, alone = settings.head.look_ahead, settings.shortened(settings.single_share)
print(f"look-ahead of the heads: {look_ahead} frames; POYO+ reads windows of {settings.poyo_single.window:g} s")
print(f"decoded: {', '.join(channels)}; smoothing of the traces: {recordings.smoothing:g}, of the behaviour: none")

# %% [markdown]
# ## Heads
#
# The features $h_{n,t}$ of neuron $n$ and token $t$ are what the backbone has after its last norm, with the whole trial as input.
# The **linear head** maps them to a few numbers per output $o$ and adds up the neurons, each with its own row of weights; the **GLU head**
# multiplies two such maps before, one of them as a gate:
#
# $$y_{t,o} = \sum_{n,r} \Bigl( \sum_c h_{n,t,c}\, B^{(1)}_{o,r,c} \Bigr) B^{(2)}_{o,n,r} + b_o \quad \text{(Eq. 15)},$$
#
# $$z_{n,t} = \mathrm{Dropout}\bigl( (h_{n,t} B^{(3)}) \odot \mathrm{GELU}(h_{n,t} B^{(4)}) \bigr), \qquad
# y_{t,o} = \sum_{n,r} z_{n,t,o,r}\, B^{(5)}_{o,n,r} + b_o \quad \text{(Eq. 16)}.$$
#
# In the code, up to the bias (`bank` is $B^{(2)}$ or $B^{(5)}$):

# %%
show_code(LinearHead.read_out, GLUHead.read_out)

# %% [markdown]
# A token gives the frames that it was made of; a short convolution over frames smooths the seams.
#
# A token knows its last frame, so its first frame is decoded with three later ones in sight, and the convolution of the authors'
# code is centred: it adds four more. GLM, RRR and TCN are causal in the paper, and POYO+ reads whole windows. So every rival is there
# twice: as in the paper, and at `equal look-ahead`, with as many frames as the heads. GLM and RRR get them as regressors, the TCN's output
# for a later frame is taken for the present one, and POYO+ reads each frame from the window that ends so many frames after it.

# %%
backbones = {training: decoding.train_backbones(recordings, seed=training, runs=RUNS) for training in settings.seeds(seed)}
group, chosen_sessions = list(recordings.groups.items())[-1]  # held-out ones where there are any
chosen_sessions = chosen_sessions[:singles]

# %% [markdown]
# ## One session at a time
#
# The backbone is the one pretrained on the held-in mice; of a held-out session it knows what adapting taught it, which was
# without behaviour. Everything else is trained on the session alone, with the same number of tries for every network, and chosen by
# the squared error on validation trials. Larger profiles train everything several times, the backbone too, and average the scores.
#
# Two controls have the same heads: **raw traces** have no backbone at all, and **continuous patches** have one with CalM's layers but
# without tokens (notebook 04).

# %%
decoded = {}
for training in reversed(settings.seeds(seed)):  # so that what follows is of the first
    features = {session.name: decoding.head_features(session, backbones[training][group]) for session in chosen_sessions}
    for session in chosen_sessions:
        scored = results.of_seed(training)
        trained = decoding.train_on_one(session, features[session.name], alone, seed=training, runs=RUNS)
        decoded[session.name] = decoding.compare_decoders(scored, trained, recordings, session, item="fig4b")
        trials = len(session.trials_of("test"))
        add_costs(scored, trained, session, item="fig4b", task="decoding", trials=trials)

# %%
order = ["GLM", "RRR", "TCN", "POYO+", "raw traces", "continuous patches", "CalM"]
scores = results.table("fig4b").query("split == 'test'")
figure, axes = plt.subplots(1, len(channels), figsize=(PAGE, 3.4), squeeze=False)
channel_dots(axes[0], scores, order, channels, "R² per trial", "r2")
study.save("fig4b", figure)
metrics = ["r2", "r2 over frames", "mse", "corr"]
means = summarise(scores, ["method", "variant", "metric"]).query("metric in @metrics")
means.pivot_table(index=["method", "variant"], columns="metric", values="mean", sort=False).round(3)

# %% [markdown]
# **Figure 4B.** R² of each test trial by itself, mean over trials, then sessions, as the paper has it; in the table also over all
# test frames of a session at once (`r2 over frames`), which counts differences between trials as explained and is higher. Ceiling
# (cohort only): a GLM that is given the noise-free rates of the same neurons, with the look-ahead of the heads. A decoder that is
# not linear may pass it.
#
# Read `raw traces` beside CalM: the same heads without the backbone; and `continuous patches`: the same heads and layers without
# tokens. And compare CalM with rivals that look ahead as far.
#
# ## Examples

# %%
session = chosen_sessions[0]
trial = int(session.trials_of("test")[0])
drawn = {"CalM, GLU head": ("CalM", "GLU head"), "POYO+": ("POYO+", decoding.AHEAD), "GLM": ("GLM", decoding.AHEAD)}
figure, axes = plt.subplots(len(channels), 1, figsize=(PAGE, 0.6 + 1.1 * len(channels)), sharex=True, squeeze=False)
example_traces(
    list(axes[:, 0]),
    np.arange(session.frames[trial]) / session.rate,
    session.behaviour[trial].T,
    {name: decoded[session.name][key][0].T for name, key in drawn.items()},
    channels,
    score="R²",
)
axes[0, 0].set_title(f"{session.name}, trial {trial}")
examples = results.table("fig4b_trials").query("session == @session.name and trial == @trial and seed == @seed").drop(columns="trial")
results.add_rows(examples, item="fig4d")
study.save("fig4d", figure)

# %% [markdown]
# **Figure 4D.** The first test trial of the first session; all see as many frames ahead. On the right: R² over its frames. What looks odd
# has reasons. To the GLM the frames before a trial are zeros, the mean of every neuron, so that it may begin far off. POYO+ is read from
# another window every four frames here (as in the paper, windows overlap by half and are averaged), which leaves seams. CalM's
# features change once a token, every four frames, too: the convolution over frames smooths its teeth but does not remove them.
#
# ## Look-ahead
#
# The indicator rises after the spikes that it shows and decays for seconds, and its traces are smoothed: what a mouse does now is in
# the frames to come. So a score says little without the number of later frames that were seen for it.

# %%
for session in chosen_sessions:
    trials = session.trials_of("test")
    for frames in look_aheads:
        seeing = {"networks": frames in trained_look_aheads, "seed": seed, "runs": RUNS}
        trained = decoding.decoders_at(frames, session, {"CalM": features[session.name]["CalM"]}, alone, **seeing)
        ahead = decoding.decode_trials(trained, session, trials)
        decoding.score_decoding(results, ahead, session, trials, window, item="fig4b_lookahead", look_ahead=frames)

# %%
figure, axes = plt.subplots(figsize=(COLUMN, 3.2))
lines = results.table("fig4b_lookahead").query("metric == 'r2 over frames'").replace({"variant": {decoding.AHEAD: ""}})
look_ahead_curve(axes, lines, "R² over all test frames")
study.save("fig4b_lookahead", figure)

# %% [markdown]
# R² against the frames after the present one that a decoder sees, mean over the channels. Only methods at the same place may be
# compared. Networks have few points, as each takes a training; POYO+ is the same network at all of them, without the frames beyond.
#
# ## Few labels
#
# The behaviour of only some of the training trials is known, the traces of all of them. The backbone is the same throughout, and
# was trained without behaviour; rivals have nothing but the trials whose behaviour is known.

# %%
for session in chosen_sessions:
    trials = session.trials_of("test")
    known = {method: features[session.name][method] for method in ("CalM", "raw traces")}
    for share in shares:
        trained = decoding.train_with_share(session, known, share, alone, seed=seed, runs=RUNS)
        labelled = decoding.decode_trials(trained, session, trials)
        decoding.score_decoding(results, labelled, session, trials, window, item="fig4b_labels", share=share)

# %%
figure, axes = plt.subplots(figsize=(COLUMN, 2.8))
lines = results.table("fig4b_labels").query("metric == 'r2 over frames' and method != 'RRR'").replace({"variant": {decoding.AHEAD: ""}})
share_curve(axes, lines, "R² over all test frames")
study.save("fig4b_labels", figure)

# %% [markdown]
# R² against the share of labelled training trials, mean over the channels, at the look-ahead of the heads. If features of the backbone hold the behaviour in
# a simpler form than traces do, their lines fall later than those of the raw traces.
#
# ## Many sessions

# %%
for training in settings.seeds(seed):
    searches = {}
    for name, sessions in recordings.groups.items():
        backbone = backbones[training][name]["CalM"]
        searches = decoding.search_on_many(sessions, backbone, settings, pretrained=searches, seed=training, runs=RUNS)
        for session in sessions:
            trained = decoding.decoders_of(searches, backbone, session, look_ahead)
            decoding.compare_decoders(results.of_seed(training), trained, recordings, session, item="fig4c", group=name)
for name in recordings.groups:
    decoding.add_gains(results, "fig4c", name)

# %%
rows, groups = results.table("fig4c").query("split == 'test'"), list(recordings.groups)
figure, axes = plt.subplots(len(groups), len(channels), figsize=(PAGE, 1.7 * len(groups)), squeeze=False)
for panels, name in zip(axes, groups, strict=True):
    channel_dots(panels, rows[rows["group"] == name], ["POYO+", "CalM"], channels, f"R² per trial, {name}", "r2")
study.save("fig4c", figure)
means = summarise(rows, ["group", "method", "variant", "metric"]).query("metric in @metrics")
means.pivot_table(index=["group", "method", "variant"], columns="metric", values="mean", sort=False).round(3)

# %% [markdown]
# **Figure 4C.** One decoder for all held-in sessions; for held-out mice only what belongs to their neurons was trained: rows of the
# head's bank, or POYO+'s embeddings of units and session. POYO+ reads whole windows, or no more frames ahead than the head. The
# ceiling is linear: a dot right of it is a session in which a network, which is not, decodes better than a GLM of the noise-free rates.
#
# ## The claims

# %%
study.verdicts([6, 7, 8, 9])

# %% [markdown]
# Differences in R² per trial, paired over test trials. `p` is about the trials of these sessions, `p_sessions` about other sessions
# of these mice, `p_mice` about other mice where there are three or more; all after Holm.
#
# ## Kinds of trials
#
# The same features, averaged over each trial, tell two kinds of trials apart (logistic regression); beside it, the same with
# labels shuffled.

# %%
for session in chosen_sessions:
    table = session.trials.drop(columns="split")
    column = trial_column or next((name for name in table if table[name].nunique() == 2), "")
    if column not in table:
        print(f"{session.name} has no column {trial_column or 'with two values'} to tell its trials apart by")
        continue
    first, either = classification.two_kinds(table[column], kinds)
    splits = session.trials["split"].where(either, "")
    for method, each in features[session.name].items():
        means = classification.trial_means([each.features(trial) for trial in range(len(session.traces))])
        try:
            accuracies = classification.classify_trials(means, first, list(splits))
            classification.add_kinds(results, "fig4_kinds", session.name, method, column, accuracies)
        except CalmError as reason:
            print(f"{session.name}, {method}: {reason}")

# %%
if "fig4_kinds" in results.items:
    study.save("fig4_kinds")
summarise(results.table("fig4_kinds"), ["method", "variant", "metric"]).round(3)
