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
# # Forecasting recordings (Figures 3C, 3D and 3F)
#
# From the first frames of a trial, forecast what the population does next. Two questions:
#
# - **One session at a time** (Fig. 3C): is CalM, trained from nothing on a single session, a better forecaster than the
#   methods that are made for that?
# - **Many sessions** (Fig. 3D): one model of many sessions, on their own test trials, and on subjects that it never saw, of
#   which it learns only who the neurons are. POCO, the paper's rival here, gets the same sessions and the same adaptation.
#
# All methods are compared on the same frames: a fixed horizon after the context, the only one that POCO has; trials that do
# not reach its end are left out. Naive and linear methods set the scale. **CalM, fine-tuned** is ours, not the paper's: the same
# model after some more training on the error of its own forecasts (notebook 03). No claim of the paper is judged by it.
#
# How long it takes, by `profile`: `smoke`, seconds for each cell, shows that everything runs, with models that have learned nothing; `quick`,
# ten minutes on one CPU core after notebook 03, is large enough to see the effects; `laptop` is larger and takes about three
# hours of two cores for all notebooks together; `gpu` is meant for one GPU and `paper`, with the paper's sizes, for several (neither was run
# yet). What was trained before is found again.

# %% [markdown]
# **Figure 3A**, drawn from the modules with the sizes of profile `paper`. A forecast begins with the tokens of the context; what is predicted
# for the next step is fed back, step by step, and the quantizer's decoder turns all tokens into traces.

# %% tags=["schematic"]
from calm.paper.plots.schematics import schematic

schematic("transformer")

# %% tags=["parameters"]
import os

# Words after its name change numbers of a profile (see calm/profiles/), as "smoke dat.layers=3 dat_fit.steps=80".
profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "cohort"  # simulation, cohort, or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials, the initial weights and the batches
singles: int = 3  # sessions that every method is also trained on one by one; the fewer, the sooner a figure

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np

from calm.baselines.validation import compared_trials
from calm.data.session import cut_trials
from calm.paper.claims.comparisons import chosen_variant
from calm.paper.experiments import forecasting
from calm.paper.experiments.distributions import score_distributions
from calm.paper.experiments.methods import MethodSet, add_costs
from calm.paper.experiments.tokens import add_model, add_training
from calm.paper.plots import COLUMN, PAGE, bars, example_traces, fading, join_legends, trials_left
from calm.paper.plots.dots import distribution_panels
from calm.paper.results import FINE_TUNED, summarise
from calm.paper.study import RUNS, Study

study = Study(profile, dataset, seed=seed)
recordings, settings, results = study.recordings, study.settings, study.results
config, alone = settings.forecast, settings.shortened(settings.single_share)
print(f"{config.context} frames are given, the {config.horizon or 'remaining'} frames after them are forecast")

# %% [markdown]
# ## One session at a time
#
# Every method starts from nothing, CalM's quantizer included, and gets the same number of tries. The sessions are held-out
# ones where there are any. Larger profiles train every network several times, from other seeds, and average the scores.

# %%
for session in list(recordings.groups.values())[-1][:singles]:
    for training in settings.seeds(seed):
        trained, scored = forecasting.train_on_one(session, alone, seed=training, runs=RUNS), results.of_seed(training)
        predicted = forecasting.compare_forecasters(scored, trained, recordings, session, item="fig3c")
        score_distributions(scored, trained, predicted, session, config, item="fig3c")
        trials = compared_trials(session, "test", config)
        add_costs(scored, trained, session, item="fig3c", task="forecast", trials=len(trials))

# %%
order = ["persistence", "mean trial", "decay", "ridge VAR", "TCN", "PatchTST", "iTransformer", "POCO"]
order += ["continuous patches", "CalM", FINE_TUNED]
scores, chosen = results.table("fig3c"), chosen_variant(results.table("fig3c_trials"))
figure, axes = plt.subplots(figsize=(COLUMN, 2.8))
shown = scores.query("metric == 'corr' and split == 'test'")
bars(axes, shown, order, "forecast correlation (Pearson r)", chosen=chosen)
study.save("fig3c", figure)
summarise(scores, ["method", "variant", "split", "metric"]).pivot(
    index=["method", "variant"], columns=["metric", "split"], values="mean"
).round(3)

# %% [markdown]
# **Figure 3C.** Pearson correlation per neuron over the frames of the horizon, mean over neurons, then test trials, then
# sessions, which the dots are (through them, if there are several, the range of the trainings). In the table also POCO's score, as in notebook 01. The mean trial tells how much is due to the task alone: trials are alike, and what they share needs no model of
# the population. Where **decay**, a neuron's own last value that fades to its mean, lies above TCN, PatchTST or iTransformer, as it does at
# `quick` and `laptop`, these networks have learned less from a single session than that calcium decays. Lines, for synthetic mice: forecasts that
# know the state of mouse and network at the end of the context (dashed), or every future rate (dotted). Of CalM's bars the full one is the
# variant that was chosen on validation trials.
#
# The paper's claim that CalM is better than each of the others, as tests on the same test trials (as in notebook 01):

# %%
study.verdicts([3])

# %% [markdown]
# ### Does it know how uncertain it is?
#
# The distributions behind the forecasts, judged by CRPS and coverage: see notebook 01 for what they are.

# %%
kinds = ["sampled", "sampled, decoding noise", "residuals", f"{chosen}, residuals", "known state, residuals"]
figure, axes = plt.subplots(1, 3, figsize=(PAGE, 3.2))
distribution_panels(list(axes), results.table("fig3c_distribution").query("variant in @kinds"))
study.save("fig3c_distribution", figure)

# %% [markdown]
# ## Many sessions

# %%
forecasts, methods = {}, {}
for training in reversed(settings.seeds(seed)):  # so that what follows is of the first
    scored = results.of_seed(training)
    quantizer, transformers = forecasting.train_calm(recordings, seed=training, runs=RUNS)
    tuned = forecasting.finetune_calm(recordings, quantizer, transformers, seed=training, runs=RUNS)
    rivals = forecasting.train_rivals(recordings, seed=training, runs=RUNS)
    for group, session in recordings.each():
        trained = forecasting.trained_on_many(session, transformers[group], quantizer, rivals[group], settings)
        trained.methods[FINE_TUNED, ""] = forecasting.expected_forecaster(tuned[group], quantizer, session, config)
        predicted = forecasting.compare_forecasters(scored, trained, recordings, session, item="fig3d", group=group)
        score_distributions(scored, trained, predicted, session, config, item="fig3d", group=group)
        forecasts[session.name], methods[session.name] = predicted["test"], trained.methods

# %%
order = ["persistence", "mean trial", "decay", "ridge VAR", "POCO", "continuous patches", "CalM", FINE_TUNED]
scores, trials = results.table("fig3d"), results.table("fig3d_trials")
variant = chosen_variant(trials)
figure, axes = plt.subplots(1, len(transformers), figsize=(PAGE, 2.8), sharey=True, squeeze=False)
for panel, group in zip(axes[0], transformers, strict=True):
    rows = scores.query("metric == 'corr' and split == 'test' and group == @group")
    bars(panel, rows, order, "forecast correlation (Pearson r)" if panel is axes[0, 0] else "", chosen=variant)
    panel.set_title(group)
join_legends(axes[0])
study.save("fig3d", figure)
summarise(scores, ["group", "method", "variant", "split", "metric"]).pivot(
    index=["group", "method", "variant"], columns=["metric", "split"], values="mean"
).round(3)

# %% [markdown]
# **Figure 3D.** As Figure 3C. CalM, POCO and the continuous patches share their weights over all sessions; for held-out
# subjects only what belongs to their sessions and neurons was trained, or fine-tuned. The other methods were fitted to each session.
#
# The paper calls CalM competitive with POCO here. Tested is whether it is worse by less than 0.02 in correlation; `p_mice`
# is about other mice, where there are three or more in a group:

# %%
study.verdicts([4])

# %% [markdown]
# ### Does it know how uncertain it is?

# %%
kinds = ["sampled", "sampled, decoding noise", "residuals", f"{variant}, residuals", "known state, residuals"]
figure, axes = plt.subplots(len(transformers), 3, figsize=(PAGE, 2.6 * len(transformers)), squeeze=False)
for panels, group in zip(axes, transformers, strict=True):
    distribution_panels(list(panels), results.table("fig3d_distribution").query("variant in @kinds and group == @group"))
    panels[0].set_title(group)
study.save("fig3d_distribution", figure)

# %% [markdown]
# As for single sessions.
#
# ## To the end of every trial
#
# The paper says that CalM forecasts any number of frames, while POCO's number is fixed. So every test trial is forecast to its end,
# by POCO to the end of its horizon. (Its own forecasts could be fed back to it, as those of ridge VAR are; the paper's POCO does not.)
# CalM is the single rollout that is fed all tokens, weighted.

# %%
shown = [(name, "") for name in ("decay", "ridge VAR", "POCO", "continuous patches")]
shown += [("CalM", "expected")]
for group, session in recordings.each():
    compared = MethodSet({name: methods[session.name][name] for name in shown})
    forecasting.score_to_the_end(results, compared, recordings, session, fixed=[("POCO", "")], item="fig3d", group=group)

# %%
figure, axes = plt.subplots(
    2, len(transformers), figsize=(PAGE, 3.6), sharex="col", sharey="row", height_ratios=[4, 1], squeeze=False
)
for (top, bottom), group in zip(axes.T, transformers, strict=True):
    lines = results.table("fig3d_fading").query("group == @group and variant != 'known rates'")
    fading(top, lines)
    trials_left(bottom, lines)
    bottom.set_xlabel(top.get_xlabel())
    top.set(xlabel="", title=group)
join_legends(axes[0])
study.save("fig3d_fading", figure)

# %% [markdown]
# Above: correlation over the trials that last as long, three or more in a session, mean over neurons, then sessions (band: s.e.m.).
# POCO stops at the dot. Below: how many trials there are. Trials differ in length: far from the context few are left, and not the same
# sessions.
#
# ## An example

# %%
session = max(recordings.held_in, key=lambda each: len(each.neurons))
trial = int(compared_trials(session, "test", config)[0])
trace, start = session.traces[trial][:, : config.context + (config.horizon or session.frames[trial])], config.context // 2
neurons = np.argsort(trace.var(axis=1))[::-1][:4]
contexts, futures = cut_trials(session, np.array([trial]), config.context, config.horizon)
sampler = methods[session.name]["CalM", f"mean of {config.samples}"]
drawn = {f"CalM, {variant}": ("CalM", variant), "POCO": ("POCO", ""), "ridge VAR": ("ridge VAR", "")}
figure, axes = plt.subplots(len(neurons), 1, figsize=(PAGE, 3.6), sharex=True, squeeze=False)
example_traces(
    list(axes[:, 0]),
    np.arange(start, trace.shape[1]) / session.rate,
    trace[neurons, start:],
    {name: forecasts[session.name][method][0][neurons] for name, method in drawn.items()},
    [f"neuron {neuron}" for neuron in neurons],
    context=config.context - start,  # half of it is enough to see
    samples=sampler.sample(contexts, [futures[0].shape[1]])[0][:, neurons],
    score="r",
)
axes[0, 0].set_title(f"{session.name}, trial {trial}")
examples = trials.query("session == @session.name and trial == @trial and seed == @seed").drop(columns="trial")
results.add_rows(examples, item="fig3f")
study.save("fig3f", figure)

# %% [markdown]
# **Figure 3F.** The first test trial of the largest held-in session, its liveliest neurons, with one of CalM's sampled rollouts and the
# bands that hold 50 and 90 % of them; the second half of the context. On the right: r of each forecast.
#
# ## Why discrete tokens?
#
# The authors' next model drops them (CAPT, arXiv 2607.23258), and the continuous patches here are a control for them: layers,
# width, sessions, steps, learning rate and scheduled sampling are CalM's. What differs is how four frames of a neuron get in
# and out:
#
# | | in | out | learns by |
# |---|---|---|---|
# | CalM | the nearest of the quantizer's codes, which has a vector | a probability for each code | cross-entropy, Eq. 11 |
# | continuous patches | $W x + b$ | $\hat x_{t+1} = x_{t, 4} \mathbf 1 + W' h_t + b'$, changes from the last frame | $\lVert x_{t+1} - \hat x_{t+1} \rVert^2$ |
#
# A token loses a little of the trace (notebook 02), and the patches need no first stage. In return, tokens give a distribution
# from which whole futures can be drawn; a patch is a single guess, the mean of what may come. For correlation and squared error
# the mean is the best there is.

# %%
for group, sessions in recordings.groups.items():
    add_model(results, "CalM", transformers[group], sessions, recordings, group=group)
    patches = rivals[group]["continuous patches"]
    add_model(results, "continuous patches", patches, sessions, recordings, group=group)
add_training(results, "CalM", quantizer, group="held-in", variant="quantizer")
stand_for = "split == 'test' and (method == 'continuous patches' or method == 'CalM' and variant == @variant)"
results.add_rows(scores.query(stand_for).assign(variant="forecasts"), item="tokens")
methods_of = "method in ('continuous patches', 'CalM') and variant in @kinds"
results.add_rows(results.table("fig3d_distribution").query(methods_of), item="tokens")
study.save("tokens")
summarise(results.table("tokens"), ["group", "metric", "variant", "method"]).pivot(
    index=["group", "metric", "variant"], columns="method", values="mean"
).round(3)

# %% [markdown]
# **The same layers with tokens and without.** Forecasts, and the distributions around them (CRPS and coverage, see notebook 01;
# CalM samples futures, the patches have only the residuals that they left on validation trials): means over the sessions of a
# group, on test trials. How both fade is drawn further up. Read-outs: the correlation of a property of left-out neurons with
# what a ridge regression reads out of their embeddings, and what it reaches for shuffled neurons (notebook 06 explains both).
# Parameters and seconds: of what was trained for that group; the quantizer comes on top of CalM's.
#
# Where the patches forecast as well or better, tokens are not what makes CalM forecast: the layers do it, with who the neurons
# are, and the tokens cost a stage and a little of the trace. What is left to them then is that whole futures can be drawn, not
# only their mean. One seed cannot tell a small difference from luck.
