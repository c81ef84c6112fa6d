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
# # Learning to predict tokens
#
# One dual-axis transformer (DAT) for all held-in sessions: it shares everything but an embedding for each neuron and one for
# each session. Then sessions of held-out subjects are added by training only *their* embeddings, everything else frozen.
#
# Two questions beside the training itself. What does scheduled sampling, the training on the model's own predictions, do to the gap
# between trials that it was trained on and trials that it was not? And how much of a forecast for a new subject is in the embeddings
# that are trained for it? At the end comes what the paper only wishes for: the transformer learns on from the traces that it forecasts.
#
# How long it takes, by `profile`: `smoke`, seconds for each cell, shows that everything runs, with models that have learned nothing; `quick`,
# four minutes on one CPU core after notebook 02, is large enough to see the effects; `laptop` is larger and takes about three hours of two
# cores for all notebooks together; `gpu` is meant for one GPU and `paper`, with the paper's sizes, for several (neither was run yet). What
# was trained before is found again.

# %% [markdown]
# **Figure 3A**, drawn from the modules with the sizes of profile `paper`. In the small grids dark blue is a token, and light blue what it
# sees: the other neurons of its own time step, then its own neuron's past. Tokens are those of a simulated network's traces.

# %% tags=["schematic"]
from calm.paper.plots.schematics import schematic

schematic("transformer")

# %% tags=["parameters"]
import os

# Words after its name change numbers of a profile (see calm/profiles/), as "smoke dat.layers=3 dat_fit.steps=80".
profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "cohort"  # simulation, cohort, or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials, the initial weights and the batches

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

from calm.baselines.linear import Decay, MeanTrial
from calm.models.transformer import DualAxisTransformer
from calm.paper.experiments import forecasting
from calm.paper.experiments.ablations import SAMPLING_OFF
from calm.paper.experiments.methods import MethodSet
from calm.paper.experiments.sampling_gap import LOSSES, score_gap
from calm.paper.plots import COLUMN, PAGE, join_legends, loss_curves
from calm.paper.plots.data import TRAINED, gap_lines
from calm.paper.plots.paired import paired_lines
from calm.paper.results import FINE_TUNED, summarise
from calm.paper.study import RUNS, Study, show_code
from calm.training.forecasting import CalMForecaster
from calm.training.stages import train, untrained
from calm.training.tasks import TransformerTask

study = Study(profile, dataset, seed=seed)
recordings, settings, results = study.recordings, study.settings, study.results
quantizer = study.train_quantizer()

# %% [markdown]
# ## Pretraining
#
# The input of neuron $n$ at step $t$ is the sum of three embeddings, of its token, of the neuron and of the session; every layer attends
# over the neurons of the same step and, causally, over time. The loss is the cross-entropy of the next token:
#
# $$h^0_{n,t} = E_{z_{n,t}} + u_n + s \quad \text{(Eq. 10)}, \qquad
# L_{CE} = -\frac{1}{N (T_d - 1)} \sum_{n,\,t} \log p(z_{n,t+1} \mid z_{1 \dots N,\,1 \dots t}) \quad \text{(Eq. 11)}.$$
#
# All profiles but `paper` add a fixed vector for each neuron, its loadings on the principal components of the session's training traces, as
# far as they stand out from noise; in a fifth of the training batches it is left out. And they add to the loss the squared error of the
# expected code, $\|\sum_k p_k e_k - e_{z_{n,t+1}}\|^2$, in units of the codes' variance: to cross-entropy a code next to the right one is as
# wrong as any other, and where little of the next token can be told, what the other neurons tell is learned late. In the code:

# %%
show_code(DualAxisTransformer.embed, DualAxisTransformer.prediction_losses)

# %% [markdown]
# Two things harden the model against its own mistakes. Scheduled sampling puts its own predictions into a block $B$ of the input, and
# neighbourhood replacement swaps a token for one of its nearest codes $\mathcal N$ with probability $p$; the targets stay what they are:
#
# $$\tilde z_{n,t} = \arg\max_k\, p(k \mid z_{1 \dots t-1}) \;\text{ for } t \in B \quad \text{(Eq. 12)}, \qquad
# \tilde z_{n,t} \sim \mathrm{Uniform}(\mathcal N(z_{n,t})) \;\text{ with probability } p \quad \text{(Eq. 13)}.$$

# %%
show_code(DualAxisTransformer.feed_back, DualAxisTransformer.replace_neighbours)

# %% [markdown]
# The paper adds the loss of each corrupted input to that of the clean one, which takes three passes of the model,
#
# $$L = L_{CE} + \lambda_{SS} L_{SS} + \lambda_{NR} L_{NR} \quad \text{(Eq. 14)};$$
#
# the authors' code has one loss, whose input is corrupted in both ways. Both are here; profile `paper` takes the former, the others the latter.

# %%
show_code(DualAxisTransformer.three_losses, DualAxisTransformer.corrupted_input_loss)

# %% [markdown]
# A few learning rates are tried.

# %%
tries = forecasting.search_transformer(quantizer, recordings.held_in, settings, seed=seed, runs=RUNS)
print({f"learning rate {rate:.2g}": round(tried.score, 3) for rate, tried in tries.tries.items()})
transformer = tries.chosen
figure, axes = plt.subplots(figsize=(COLUMN, 2))
label, guess = "forecast, validation (r)", np.log(settings.quantizer.codes)
loss_curves(axes, transformer.history, label, loss="cross_entropy", uniform=guess)
study.add_history(transformer.history, item="pretraining_loss", method="CalM")
study.save("pretraining_loss", figure)

# %% [markdown]
# Grey: mean cross-entropy since the last validation, in nats and on corrupted input; dotted: $\ln K$, the loss of a guess among all $K$ codes, where
# training begins. Blue: correlation of forecasts of validation trials. The two need not move together:
# what makes rollouts good, the coupling between neurons, hardly shows in cross-entropy. So learning rate and weights are chosen by rollouts on
# validation trials.
#
# ## What scheduled sampling does
#
# The same transformer is trained once more, all the same but without scheduled sampling. Both are asked for the tokens of the horizon in
# training, validation and test trials: given all true tokens before each (as in training), and given the context only and their own
# likeliest tokens from there on (as in a forecast). The difference between the two is what a model's own mistakes cost it; the difference
# between training and test trials is what it learned by heart.

# %%
best = settings.dat_fit.changed(learning_rate=tries.learning_rate)
bare = TransformerTask(quantizer, recordings.held_in, settings.dat.changed(**SAMPLING_OFF), settings.forecast)
unsampled = train(bare, best, seed=seed, runs=RUNS)
models = dict(zip(TRAINED, (transformer.model, unsampled.model), strict=True))
score_gap(results, models, quantizer.model, recordings, item="pretraining_gap")

# %%
labels = {
    LOSSES[0]: "cross-entropy (nats),\ngiven true tokens",
    LOSSES[1]: "cross-entropy (nats),\ngiven its own tokens",
}
labels["corr, greedy"] = "correlation over trials,\nforecast from its own tokens"
course = results.table("pretraining_gap_horizon")
figure, axes = plt.subplots(1, len(labels), figsize=(PAGE, 2.3))
for panel, (metric, label) in zip(axes, labels.items(), strict=True):
    gap_lines(panel, course[course["metric"] == metric], label)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
study.save("pretraining_gap", figure)
summarise(results.table("pretraining_gap"), ["metric", "variant", "split"]).pivot_table(
    index=["metric", "variant"], columns="split", values="mean", sort=False
).round(3)

# %% [markdown]
# Mean over the held-in sessions, all frames or tokens of the horizon. `cross-entropy`: of the true token, mean over neurons, in nats
# (all codes equally likely: the logarithm of their number). `corr`: forecast correlation of a trial, mean over neurons, with the
# likeliest token fed back (`greedy`) or all tokens, weighted (`expected`). The lines of the figure are means over trials at each time, for
# the correlation Pearson over trials, mean over neurons; of the training trials as many are used as there are test trials.
# At `quick` the right panel shows no effect: the lines lie on each other. What scheduled sampling changes there is how sure the model is
# of the true token after its own ones (middle), not which forecast is the likeliest.
#
# ## Held-out subjects
#
# The pretrained transformer gets new neuron and session embeddings for each held-out session and nothing else is trained. Beside it stands
# the same transformer with those embeddings as they were at the start: what it knows of neurons in general and, in all profiles but
# `paper`, from their loadings.

# %%
if recordings.held_out:
    task = TransformerTask(quantizer, recordings.held_out, settings.dat, settings.forecast)
    adapted = train(task, best, seed=seed, runs=RUNS, pretrained=transformer)
    start = untrained(task, seed=seed, pretrained=transformer)
    figure, axes = plt.subplots(figsize=(COLUMN, 2))
    loss_curves(axes, adapted.history, "forecast, validation (r)")
    plt.show()
else:
    print("No subject is held out: name some under `held_out` in the dataset description.")

# %%
if recordings.held_out:
    models = {"adapted": adapted.model, "untrained embeddings": start.model}
    for session in recordings.held_out:
        methods = {("decay", ""): Decay().fit(session), ("mean trial", ""): MeanTrial().fit(session)}
        for variant, model in models.items():
            methods["CalM", variant] = CalMForecaster(
                model, quantizer.model, session.name, settings.forecast, choice="expected"
            )
        forecasting.compare_forecasters(results, MethodSet(methods), recordings, session, item="adaptation")
    scores = results.table("adaptation")
    shown = scores.query("metric == 'corr' and split == 'test'")
    figure, axes = plt.subplots(figsize=(COLUMN, 2.6))
    ends = {f"{variant.split()[0]}\nembeddings": ("CalM", variant) for variant in ("untrained embeddings", "adapted")}
    paired_lines(axes, shown, ends, "forecast correlation (Pearson r)")
    study.save("adaptation", figure)
    display(
        summarise(scores, ["method", "variant", "split", "metric"])
        .pivot(index=["method", "variant"], columns=["metric", "split"], values="mean")
        .round(3)
    )

# %% [markdown]
# Forecasts of the horizon of held-out sessions, with all tokens fed back, weighted (`expected`). What adaptation is worth is how much the
# lines rise, a thin one for each session; what the population is worth is the distance to a neuron's own decay and to the mean trial.
#
# ## Fine-tuning on traces
#
# So far no forecast was ever compared with a trace: the transformer learns tokens, one at a time. The paper's Discussion wishes for more.
# Here is a variant of ours; wherever it appears it is called **CalM, fine-tuned**, beside the paper's CalM and never in its place.
#
# A rollout that feeds back the whole distribution $p$ over the codes $E$, not a token drawn from it, is differentiable from end to end.
# From the tokens $z_1 \dots z_c$ of a context,
#
# $$p_{t+1} = \mathrm{DAT}(z_{1 \dots c},\, p_{c+1 \dots t}), \qquad \hat y = \mathrm{Decoder}(E z_{1 \dots c},\, E p_{c+1 \dots c+h}),$$
#
# and the loss is that of the quantizer's reconstructions (Eq. 4), but of the forecast of the frames after the context:
#
# $$\mathcal L = \frac{1}{N H} \sum_{n,\,\tau} (\hat y_{n \tau} - y_{n \tau})^2 + \frac{1}{N} \sum_n \bigl(1 - r(\hat y_n, y_n)\bigr).$$
#
# The quantizer stays frozen. The length of the context is drawn anew in every step, so that the model is not tuned to the one that
# methods are compared at. Of held-out subjects only the embeddings are trained, on the fine-tuned model, under the same loss.

# %%
_, transformers = forecasting.train_calm(recordings, seed=seed, runs=RUNS)  # those from above
tuned = forecasting.finetune_calm(recordings, quantizer, transformers, seed=seed, runs=RUNS)
for group, session in recordings.each():
    before = forecasting.expected_forecaster(transformers[group], quantizer, session, settings.forecast)
    after = forecasting.expected_forecaster(tuned[group], quantizer, session, settings.forecast)
    methods = MethodSet({("CalM", "expected"): before, (FINE_TUNED, ""): after})
    forecasting.compare_forecasters(results, methods, recordings, session, item="finetuning", group=group)

# %%
scores = results.table("finetuning")
figure, axes = plt.subplots(1, 1 + len(tuned), figsize=(PAGE, 2.2))
loss_curves(axes[0], tuned["held-in"].history, "forecast, validation (r)")
for panel, group in zip(axes[1:], tuned, strict=True):
    shown = scores.query("metric == 'corr' and split == 'test' and group == @group")
    ends = {"before": ("CalM", "expected"), "after": (FINE_TUNED, "")}
    paired_lines(panel, shown, ends, "forecast correlation (Pearson r)" if panel is axes[1] else "")
    panel.set_title(group)
join_legends(axes[1:])
study.save("finetuning", figure)
for group, each in tuned.items():
    print(f"{group}: validation {transformers[group].score:.3f} before, {each.score:.3f} after, {each.seconds:.0f} s")
summarise(scores, ["group", "method", "variant", "metric", "split"]).pivot(
    index=["group", "method", "variant"], columns=["metric", "split"], values="mean"
).round(3)

# %% [markdown]
# Left: loss of held-in sessions in training (grey) and correlation of their validation forecasts (blue). Right: forecasts of test trials
# before and after, the same way of rolling out for both (`expected`). The difference between the validation and the test columns of the
# table tells how much of the gain carries over. The model was trained for the mean of the future: what its samples are worth as a
# distribution afterwards is not tested.
