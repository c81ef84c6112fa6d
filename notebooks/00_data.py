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
# # The recordings (Tables 1 and 2)
#
# The paper's recordings (Tseng et al. 2022, DANDI:000579) are two-photon traces of eight mice that run through a Y-maze. A black or
# white cue on the walls of its stem tells which arm is rewarded; which cue means which arm switches from time to time. They are 246 GB
# and do not come with calm. By default this notebook shows a *synthetic cohort* in files of exactly their layout: as many mice, with
# sessions and areas in the same proportions. Nothing in it was measured. What it has, and recordings do not, is its truth.
#
# How many sessions and neurons are there, what does the mouse do, what does a neuron's trace look like, and what is done to it before
# any model sees it?
#
# How long it takes: `smoke`, seconds for each cell, shows that everything runs; `quick`, half a minute on one CPU core, which simulates the
# recordings of the cohort; `laptop` and `gpu`, minutes; `paper` is for the paper's own recordings (not run yet). What was prepared before is
# found again.

# %% tags=["parameters"]
import os

# Words after its name change numbers of a profile (see calm/profiles/), as "smoke dat.layers=3 dat_fit.steps=80".
profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "cohort"  # simulation, cohort, or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials
shown: int = 4  # consecutive trials, and neurons, to look at

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

from calm.metrics import pearson
from calm.paper.experiments import inspection
from calm.paper.plots import COLUMN, PAGE, data as panels, letters
from calm.paper.study import Study
from calm.synthetic.population import VOLUME
from calm.synthetic.truth import drive_sources, under_trials

study = Study(profile, dataset, seed=seed)
recordings, results, sessions = study.recordings, study.results, inspection.describe_sessions(study.recordings)
counts = [f"{sessions[name].sum()} {name}" for name in ("neurons", "trials")]
print(f"{recordings.name}: {len(sessions)} sessions,", ", ".join(counts))

# %% [markdown]
# ## How many
#
# Held-out mice take no part in pretraining. The paper holds out mice 6 and 10.

# %%
sessions.groupby("group").agg(
    subjects=("subject", "nunique"), sessions=("session", "count"), neurons=("neurons", "sum"), trials=("trials", "sum")
)

# %% [markdown]
# **Table 1.** By mouse. Mean trial frames: over all trials of all sessions; a session of the paper's layout has 6 frames per second.

# %%
has_areas = "area" in sessions  # the layout of the paper's recordings
inspection.add_counts(results, recordings, item="table1", by="subject")
study.save("table1")
show_counts = inspection.beside_paper if has_areas else inspection.count_table
show_counts(results.table("table1"))

# %% [markdown]
# **Table 2.** By cortical area.

# %%
if has_areas:
    inspection.add_counts(results, recordings, item="table2", by="area")
    study.save("table2")
    display(show_counts(results.table("table2")))
else:
    print("The files of these recordings do not name areas in the layout of DANDI:000579: there is no Table 2.")

# %% [markdown]
# ## A session
#
# The largest held-in one. First its task: which cue came, where the mouse went, which rule was on, and how often it was right.

# %%
session = max(recordings.held_in, key=lambda each: len(each.neurons))
print(f"{session.name}: {len(session.neurons)} neurons, {len(session.traces)} trials, {session.rate:.2f} frames/s")
if inspection.has_task(session):
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(PAGE, 2.2), sharex=True, height_ratios=[3, 2])
    panels.share_correct(top, session.trials)
    panels.cues_and_choices(bottom, session.trials)
    letters([top, bottom])
    inspection.add_task(results, recordings, item="data_task")
    study.save("data_task", figure)
else:
    print("The trial table has no columns for cue, choice and rule: what follows shows the traces only.")

# %% [markdown]
# **A** Share of correct choices (running mean over 15 trials; dashed: chance), rule A shaded. **B** A tick for each trial at its cue and at
# the arm that the mouse went into, and at `wrong` if that was not the rewarded one. The rule says which cue belongs to which arm.
#
# Now a few trials in a row, around the first switch of the rule if there is one: the neurons that vary most, and behaviour (for the paper's
# mice the velocity of the ball under them; z-scores, channels 5 apart).

# %%
trials = inspection.some_consecutive(session, shown)
seconds = np.arange(session.frames[trials].sum()) / session.rate
edges = np.cumsum([0, *session.frames[trials]]) / session.rate
traces = np.concatenate([session.traces[trial] for trial in trials], axis=1)
behaviour = np.concatenate([session.behaviour[trial] for trial in trials])
neurons = np.argsort(traces.var(axis=1))[::-1][:shown]
truth = recordings.truth(session)  # only calm's own mice have one
rates = under_trials(truth, session, neurons, trials, truth.rates) / VOLUME if truth else [None] * len(neurons)

# %%
heights = [0.5, *[1] * len(neurons), *[1.6] * bool(session.behaviour_names)]
figure, axes = plt.subplots(len(heights), 1, figsize=(PAGE, 4.6), sharex=True, height_ratios=heights)
task = session.trials.iloc[trials] if inspection.has_task(session) else session.trials.iloc[:0]
panels.trial_strip(axes[0], edges, task)
axes[0].set_visible(len(task) > 0)
for panel, neuron, rate in zip(axes[1:], neurons, rates, strict=False):  # the last panel is of behaviour, if there is any
    panels.trace_over_rate(panel, seconds, traces[neuron], rate)
    panel.set_ylabel(f"neuron {neuron}\n(z-score)")
if session.behaviour_names:
    panels.channels(axes[-1], seconds, behaviour, session.behaviour_names)
    axes[-1].set_ylabel("behaviour\n(z-score)")
arms = edges[: len(task)] + task.get("arm_frame", np.array([])) / session.rate
for panel in axes[1:]:
    panels.trial_borders(panel, edges[1:-1], arms)
axes[-1].set_xlabel(f"time in trials {trials[0]} to {trials[-1]}, one after the other (s)")
panels.name_lines(figure, rate=truth is not None, arms=len(arms) > 0)
inspection.add_sessions(results, recordings, item="data_session")
study.save("data_session", figure)

# %% [markdown]
# Each trial stands by itself: what is between trials is left out, and smoothing (below) starts anew, hence the steps. Shaded, for the
# synthetic cohort: the rate that the neuron really had, before spikes, calcium and imaging noise. Calcium decays within seconds, so that the
# trace lags behind it.
#
# ## What is done to the traces
#
# Raw $\Delta F/F$ is smoothed within each trial, $y_t = w x_t + (1 - w) y_{t-1}$ (the dataset description says with which $w$; 1 is not at
# all), then z-scored with the mean and the standard deviation of the neuron's training frames. The trials are split at random, 70/15/15.
# Smoothing makes a frame more like the next one. So it raises every score of a forecast, of all methods alike.

# %%
neuron, few = neurons[0], trials[:2]
prepared = [session.traces[trial] for trial in few]
recorded = [inspection.recorded_trace(session, trial, recordings.smoothing) for trial in few]
smoothed = [inspection.smoothed_trace(session, trial) for trial in few]
stretch = seconds[: sum(session.frames[few])]
figure, axes = plt.subplots(figsize=(COLUMN, 1.9))
panels.traces(axes, stretch, {"as recorded": np.hstack(recorded)[neuron], "smoothed": np.hstack(smoothed)[neuron]})
panels.z_score_axis(axes, *session.neurons.loc[neuron, ["mean", "sd"]])
panels.trial_borders(axes, edges[1:2], [])
axes.set(xlabel=f"time in trials {few[0]} and {few[-1]} (s)", ylabel=f"neuron {neuron}\n(dF/F)")
for kind, kept in {"recorded": recorded, f"smoothed, w = {recordings.smoothing:g}": prepared}.items():
    where = {"item": "data_preparation", "n": len(few), "session": session.name, "method": "recordings"}
    correlation = inspection.neighbour_correlation(kept)
    results.add("corr of neighbouring frames", correlation, variant=kind, **where)
study.save("data_preparation", figure)
results.table("data_preparation")[["variant", "metric", "value"]].round(3)

# %% [markdown]
# ## What the neurons do in the maze
#
# Mean trace by cue and choice, around the moment the mouse enters the arm (n: trials; bands: s.e.m. over them). Shown are the neurons whose activity in the maze differs most
# between the four kinds of trial (F statistic), so they were picked for being different.

# %%
if inspection.has_task(session):
    tuned = inspection.selective_neurons(session, shown)
    inspection.add_averages(results, session, tuned, item="data_averages")
    averages = results.table("data_averages")
    figure, axes = plt.subplots(1, len(tuned), figsize=(PAGE, 2), sharey=True, squeeze=False)
    for panel, neuron in zip(axes[0], tuned, strict=True):
        panels.condition_averages(panel, averages[averages["neuron"] == neuron])
        panel.set_title(f"neuron {neuron}")
    axes[0, 0].set_ylabel("z-score, mean ± s.e.m.")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    study.save("data_averages", figure)
else:
    print("Without cue and choice there is nothing to average over.")

# %% [markdown]
# ## The truth behind a synthetic neuron
#
# A neuron of the cohort is driven by the cue on the stem, by the choice, by its place in the maze, by the speed, and by a recurrent network
# that all neurons share (`latent`); a constant, not drawn, comes on top. The drive sets the rate,
# $(\tanh(\text{drive}) + 1)/2 \cdot \lambda_\mathrm{max}$ (Eq. 17); spikes are drawn from it, each leaves a calcium transient (Eq. 18), and
# imaging adds noise. **A** The drives, **B** the rate that they add up to, **C** the trace, with imaging noise and without (solid vertical
# lines: a new trial begins; dotted: the mouse enters the arm).

# %%
if truth:
    neuron = int(tuned[0])
    drive = drive_sources(truth, session, neuron, trials)
    rate = under_trials(truth, session, tuned[:1], trials, truth.rates)[0] / VOLUME
    clean = under_trials(truth, session, np.arange(len(session.neurons)), trials, truth.traces)
    raw = np.hstack([inspection.recorded_trace(session, trial, recordings.smoothing) for trial in trials])
    figure, axes = plt.subplots(3, 1, figsize=(PAGE, 3.4), sharex=True, height_ratios=[1.6, 1, 1])
    panels.traces(axes[0], seconds, {name: drive[name].to_numpy() for name in drive if name != "baseline"})
    axes[0].axhline(0, color="0.8", lw=0.6, zorder=0)
    axes[0].set(ylabel=f"drive of\nneuron {neuron} (a.u.)")
    axes[1].plot(seconds, rate, color="black")
    axes[1].set_ylabel("rate\n(spikes/s)")
    panels.traces(axes[2], seconds, {"as recorded": raw[neuron], "without noise": clean[neuron]})
    axes[2].set(xlabel=f"time in trials {trials[0]} to {trials[-1]}, one after the other (s)", ylabel="dF/F")
    letters(axes)
    for panel in axes:
        panels.trial_borders(panel, edges[1:-1], arms)
    for kind, kept in {"recorded": raw, f"smoothed, w = {recordings.smoothing:g}": traces}.items():
        where = {"item": "data_truth", "n": len(trials), "session": session.name, "method": "recordings"}
        results.add("corr with noise-free trace", pearson(kept, clean).mean(), variant=kind, **where)
    study.save("data_truth", figure)
    display(results.table("data_truth")[["variant", "metric", "value"]].round(3))
else:
    print("Only the synthetic cohort comes with its truth.")
