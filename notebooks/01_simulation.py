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
# # Forecasting a simulated network (Figures 3B and 3E)
#
# Can a model that sees nothing but fluorescence foretell what a population of neurons will do next? On simulated
# recordings the answer has a scale, because the truth is known: a forecaster that knows the network and its state cannot
# be beaten, and what it scores is the **ceiling**.
#
# This notebook simulates recurrent networks, turns their traces into tokens (NQ), learns to predict the tokens (DAT), rolls
# them out to the end of the trial, and compares the forecasts with those of the paper's rivals (**TCN**, **PatchTST**,
# **iTransformer**, **POCO**) and of the methods that a sceptic asks for first: persistence, decay to the mean, the mean
# trial, and a ridge vector autoregression (**VAR**).
#
# How long it takes, by `profile`: `smoke`, seconds for each cell, shows that everything runs, with models that have learned nothing; `quick`,
# eight minutes on one CPU core, is large enough to see the effects; `laptop` is larger and takes about three hours of two cores for all
# notebooks together; `gpu` is meant for one GPU and `paper`, with the paper's sizes, for several (neither was run yet). What was trained
# before is found again.

# %% tags=["parameters"]
import os

# Words after its name change numbers of a profile (see calm/profiles/), as "smoke dat.layers=3 dat_fit.steps=80".
profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
seed: int = 0  # of the split into trials, the initial weights and the batches

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np

from calm.data.session import cut_trials
from calm.paper.claims.comparisons import chosen_variant
from calm.paper.experiments import forecasting
from calm.paper.experiments.distributions import score_distributions
from calm.paper.experiments.methods import add_costs
from calm.paper.plots import COLUMN, PAGE, bars, example_traces, fading, loss_curves
from calm.paper.plots.dots import distribution_panels
from calm.paper.results import FINE_TUNED, summarise
from calm.paper.study import RUNS, Study
from calm.synthetic.simulation import forecast_known_rates, forecast_known_state, simulate
from calm.training.reconstruction import reconstruct, reconstruction_correlations
from calm.training.tasks import train_quantizer

study = Study(profile, "simulation", seed=seed)
settings, results = study.settings.shortened(study.settings.simulation_share), study.results
settings.simulation

# %% [markdown]
# ## The dynamics
#
# A session is one network of $N$ neurons (Eq. 1),
#
# $$\tau \dot r = -r + W \tanh(r) + \xi, \qquad W_{ij} \sim \mathcal N(0, g^2 / N),\; g = 1.6,$$
#
# started anew in every trial from small random rates. With this gain the activity neither dies nor explodes: it is chaotic,
# or a limit cycle, depending on $W$. We see it through spikes, $S_t \sim \mathrm{Poisson}(\tfrac12(\tanh r_t + 1)\,\lambda\,dt)$
# (Eq. 17), and through calcium, spikes filtered with $e^{-t/2\,\mathrm{s}} - e^{-t/0.05\,\mathrm{s}}$ and a little noise
# (Eq. 18). Noise, chaos and spiking each set a bound to what can be known of the future.

# %%
simulations = {f"simulation-{network}": simulate(settings.simulation, network) for network in settings.simulation.seeds}
sessions = study.recordings.held_in
simulated = {each.name: each for each in sessions}
simulation, session = simulations[sessions[0].name], sessions[0]
seconds = np.arange(settings.simulation.frames) * settings.simulation.dt

# %%
figure, axes = plt.subplots(3, 1, figsize=(COLUMN, 3.2), sharex=True)
axes[0].imshow(np.tanh(simulation.state[0]), aspect="auto", cmap="vlag", vmin=-1, vmax=1, extent=(0, seconds[-1], 0, 1))
axes[0].set(ylabel="neurons", yticks=[])
axes[1].plot(seconds, np.tanh(simulation.state[:3, 0]).T)
axes[1].set_ylabel("tanh r, neuron 1,\nthree trials")
axes[2].plot(seconds, session.traces[0][0], color="black")
axes[2].set(ylabel="trace, neuron 1\n(z-score)", xlabel="time in trial (s)")
plt.show()

# %% [markdown]
# Above: the rates of all neurons in one trial; one neuron's rate in three trials, whose phases differ because the starts do
# (which is why the mean trial will forecast nothing); and what the microscope sees of it.
#
# ## Tokens
#
# The quantizer reads four frames at a time, encodes them causally and replaces each latent by the nearest of its codes
# (Eq. 2-9). It is trained on the training trials; the weights are those with the best correlation on validation trials.

# %%
quantizers = {}
for each in sessions:
    quantizers[each.name] = train_quantizer([each], settings, seed=seed, runs=RUNS)
    model, trials = quantizers[each.name].model, each.trials_of("test")
    used = len(np.unique(np.concatenate(reconstruct(model, each, trials)[1], axis=1)))
    correlation = reconstruction_correlations(model, each, trials).mean()
    print(f"{each.name}: reconstruction on test trials {correlation:.3f}, {used} of {model.config.codes} codes in use")

# %% [markdown]
# ## Learning to predict
#
# The transformer reads the tokens of all neurons, attends over time (causally) and over neurons (within a time step), and
# gives the distribution of every neuron's next token. What we watch is not its loss but the correlation of rolled-out
# forecasts on validation trials: that is what chooses the weights, and, among a few tries, the learning rate.

# %%
transformers = {}
for each in sessions:
    transformers[each.name] = forecasting.search_transformer(quantizers[each.name], [each], settings, seed=seed, runs=RUNS)
figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2))
loss_curves(axes[0], quantizers[session.name].history, "reconstruction, validation (r)")
loss_curves(axes[1], transformers[session.name].chosen.history, "forecast, validation (r)")
axes[0].set_title("quantizer")
axes[1].set_title("transformer")
plt.show()

# %% [markdown]
# ## The rivals
#
# Each rival is trained on the same trials, by the same loop, and gets the same number of tries; its weights and its learning
# rate are chosen as CalM's are. (CalM's own stages are found again, as they were trained above.) One training may be lucky:
# larger profiles train every network several times, from other seeds but on the same trials, and average the scores.
#
# - **TCN**: causal convolutions over all neurons at once; forecasts the next frame, which is fed back.
# - **PatchTST**: a transformer over patches of a single neuron's trace. It knows no other neuron.
# - **iTransformer**: a transformer whose tokens are the neurons. It does not know which neuron is which.
# - **POCO**: each neuron's own map from context to future, modulated by what the whole population does; its horizon is fixed.
# - **Continuous patches** (ours, after the authors' next model): CalM's transformer without tokens. A linear map reads four
#   frames of each neuron, and the next four are predicted by squared error. Notebook 04 asks what tokens are for.
#
# Beside the paper's CalM stands a variant of ours, **CalM, fine-tuned**: the trained transformer learns on, through its own rollouts,
# from the error of the traces that they decode to (notebook 03 shows how). The paper wishes for it and does not have it; none of its
# claims is judged by this variant.

# %%
methods = {
    (each.name, training): forecasting.train_on_one(each, settings, seed=training, runs=RUNS)
    for each in sessions
    for training in settings.seeds(seed)
}

# %% [markdown]
# ## Forecasts
#
# From the first frames of a test trial, every method forecasts the rest. For CalM the paper does not say how the next token
# is chosen, so four ways stand side by side: always the likeliest token (**greedy**), one **sample**, the **mean of many**
# sampled rollouts, and **expected**: a single rollout that is fed all tokens at once, weighted by their probability.
# Correlation rewards the conditional mean, which only the last two approach. Which of the four stands for CalM is chosen on
# validation trials.
#
# Two ceilings: **known state** knows the network and its state at the end of the context, **known rates** knows every
# future rate, and only the spikes surprise it.

# %%
config, forecasts = settings.forecast, {}
for (name, training), trained in methods.items():
    truth, each, scored, by_split = simulations[name], simulated[name], results.of_seed(training), {}
    for split in ("val", "test"):
        trials = each.trials_of(split)
        predicted = forecasting.forecast_trials(trained, each, trials, config)
        predicted["ceiling", "known state"] = forecast_known_state(truth, each, trials, config.context)
        predicted["ceiling", "known rates"] = forecast_known_rates(truth, each, trials, config.context)
        forecasting.score_forecasts(scored, predicted, each, trials, config, item="fig3b")
        forecasting.score_fading(scored, predicted, each, trials, config, item="fig3b")
        by_split[split] = predicted
    add_costs(scored, trained, each, item="fig3b", task="forecast", trials=len(trials))
    score_distributions(scored, trained, by_split, each, config, item="fig3b")
    forecasts[name, training] = predicted
scores, trials = results.table("fig3b"), results.table("fig3b_trials")
chosen = chosen_variant(trials)

# %%
order = ["persistence", "mean trial", "decay", "ridge VAR", "TCN", "PatchTST", "iTransformer", "POCO"]
order += ["continuous patches", "CalM", FINE_TUNED]
correlations = scores.query("metric == 'corr' and split == 'test'")
figure, axes = plt.subplots(figsize=(COLUMN, 2.8))
bars(axes, correlations, order, "forecast correlation (Pearson r)", chosen=chosen)
study.save("fig3b", figure)
table = summarise(scores, ["method", "variant", "split", "metric"]).pivot(
    index=["method", "variant"], columns=["metric", "split"], values="mean"
)
table["of the ceiling", "test"] = table["corr", "test"] / table.loc[("ceiling", "known state"), ("corr", "test")]
table.round(3)

# %% [markdown]
# **Figure 3B.** Pearson correlation per neuron over the frames after the context, mean over neurons, then test trials, then
# sessions; every dot is a network, mean over its trainings, whose range is the line through the dot. Dashed and dotted: the ceilings. Of CalM's
# bars the full one is the variant that was chosen on validation trials; the pale ones are the others. Persistence, a constant, has no correlation with anything, and counts as 0 here and in
# every figure. In the table also the squared error and **POCO's score**, $1 - \mathrm{MSE} /
# \mathrm{MSE}_\text{last frame}$ over all test trials, which POCO's paper reports: 0 is what repeating the last frame gets, 1 is perfect; and the share of the
# ceiling **known state** that a correlation reaches. Read the CalM bars against each other first, then the best of them against ridge VAR:
# a linear model takes most of what can be had here, which no figure of the paper shows. PatchTST, which sees one neuron at a
# time, tells how much of it a neuron's own past gives away. The last bar, fine-tuned, is ours; it is rolled out as **expected** is.
#
# ## Is CalM better?
#
# The paper's claim, as a test for each method: CalM minus that method on the same test trials, with an interval over
# sessions, and p values (after Holm) that there is no difference, on these sessions' trials (`p`) and on sessions
# like these (`p_sessions`; unknown from a single one). CalM's way to roll out is the one that was best on validation trials.

# %%
study.verdicts([2])

# %% [markdown]
# ## What it costs
#
# Every network had as many tries; what each of them scored on validation trials, the number of its parameters, the
# seconds of the training that was kept and of all tries together, and the milliseconds that a forecast takes.

# %%
summarise(results.table("fig3b_cost"), ["method", "variant", "metric"]).pivot(
    index=["method", "variant"], columns="metric", values="mean"
).round(3)

# %% [markdown]
# ## Does it know how uncertain it is?
#
# CalM is generative: it gives not a forecast but a distribution of futures, which the correlation of a mean throws away. The
# **continuous ranked probability score** judges the distribution $F$ against the true value $y$,
#
# $$\mathrm{CRPS}(F, y) = \mathbb E |X - y| - \tfrac12 \mathbb E |X - X'|, \qquad X, X' \sim F,$$
#
# the absolute error if $F$ is a single value; and **coverage** asks how often the true value lies in the middle 50 or 90 % of
# what was foreseen. Three kinds of distributions are compared:
#
# - **sampled**: futures that the method itself draws: CalM's rollouts of sampled tokens; ridge VAR's with Gaussian innovations.
#   CalM's decoder gives the mean of the frames that a token stands for, so that its rollouts lack what frames differ by within a
#   token; with **decoding noise** the errors of reconstruction on validation trials are added.
# - **residuals**: any forecast, with what it missed on validation trials at the same time since the end of the context. That
#   knows how much a method errs, but not when.

# %%
kinds = ["sampled", "sampled, decoding noise", "residuals", f"{chosen}, residuals", "known state, residuals"]
distributions = results.table("fig3b_distribution").query("variant in @kinds")
figure, axes = plt.subplots(1, 3, figsize=(PAGE, 3.2))
distribution_panels(list(axes), distributions)
study.save("fig3b_distribution", figure)
summarise(distributions, ["method", "variant", "metric"]).pivot(
    index=["method", "variant"], columns="metric", values="mean"
).sort_values("crps").round(3)

# %% [markdown]
# Left: CRPS, the best on top; full dots are distributions of the method itself, open ones its forecast with residuals. Middle and
# right: coverage; left of the dashed line a method is surer than it should be, right of it less sure. (Twenty futures are
# judged, 19 being the fewest that have a band of 90 %; the four of profile `smoke` have none.) Means over neurons, frames and test trials, then networks.
#
# ## Examples

# %%
trial, start = int(session.trials_of("test")[0]), config.context // 2  # half of the context is enough to see
contexts, futures = cut_trials(session, np.array([trial]), config.context)
sampler = methods[session.name, seed].methods["CalM", f"mean of {config.samples}"]
neurons = np.argsort(session.traces[trial].var(axis=1))[::-1][:4]  # the liveliest of this trial
drawn = {f"CalM, {chosen}": ("CalM", chosen), "POCO": ("POCO", ""), "ridge VAR": ("ridge VAR", "")}
figure, axes = plt.subplots(4, 1, figsize=(PAGE, 3.6), sharex=True)
example_traces(
    list(axes),
    seconds[start:],
    session.traces[trial][neurons, start:],
    {name: forecasts[session.name, seed][method][0][neurons] for name, method in drawn.items()},
    [f"neuron {neuron}" for neuron in neurons],
    context=config.context - start,
    samples=sampler.sample(contexts, [futures[0].shape[1]])[0][:, neurons],
    score="r",
)
axes[0].set_title(f"{session.name}, trial {trial}")
examples = trials.query("session == @session.name and trial == @trial and seed == @seed").drop(columns="trial")
results.add_rows(examples, item="fig3e")
study.save("fig3e", figure)

# %% [markdown]
# **Figure 3E.** The first test trial, its four liveliest neurons: the true trace, the forecasts, and CalM's sampled rollouts, one
# of them and the bands that hold 50 and 90 % of them; the second half of the context. On the right: r of each forecast. A single rollout looks like a recording, spikes included, but puts
# them where it likes; the expectation is smooth and is the better forecast.
#
# ## How fast the forecasts fade
#
# A panel that the paper does not have: at each time since the end of the context, the correlation over trials. Ridge VAR is
# dashed, since it often lies on CalM.

# %%
shown = ["CalM", FINE_TUNED, "ridge VAR", "TCN", "PatchTST", "iTransformer", "POCO", "continuous patches"]
shown += ["decay", "ceiling"]
shown = results.table("fig3b_fading").query("split == 'test' and method in @shown")
shown = shown[(shown["method"] != "CalM") | (shown["variant"] == chosen)].query("variant != 'known rates'")
figure, axes = plt.subplots(figsize=(COLUMN, 2.6))
fading(axes, shown)
study.save("fig3b_fading", figure)

# %% [markdown]
# All forecasts begin near the ceiling: calcium decays slowly, and for a second or two a trace is its own best forecast. What
# tells the methods apart comes after that, when only the dynamics of the population can say where a neuron goes.
