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
# # What each part is good for (Tables 7 and 8)
#
# An ablation trains CalM again without one part. If the part is of use, forecasts get worse. The paper takes three terms out of
# the loss of the quantizer (NQ),
#
# $$L = L_r + \lambda_c L_c + \lambda_{ent} L_{ent} + \lambda_{orth} L_{orth} + \lambda_{AR} L_{AR} \qquad \text{(Eq. 4-9)}$$
#
# and two strategies out of the training of the transformer (DAT):
#
# | table | variant | what is set to zero | what the part is for |
# |---|---|---|---|
# | 7 | without AR loss | $\lambda_{AR}$, of prediction and alignment | tokens that can be predicted from those before them |
# | 7 | without Gumbel | $\lambda_{ent}$, the entropy of the soft assignment | a codebook that is used evenly |
# | 7 | without orthogonality | $\lambda_{orth}$ | codes that differ |
# | 8 | without scheduled sampling | its probability (or its weight, Eq. 12, 14) | rollouts that survive their own mistakes |
# | 8 | without neighbourhood replacement | its probability (or its weight, Eq. 13, 14) | the same, for tokens that are nearly right |
#
# "Without both" strategies is ours. A variant of Table 7 trains both stages again; one of Table 8 reuses the tokens of
# the full quantizer, since nothing in it differs.
#
# A training is itself a random experiment: initial weights, order of the batches, dropout. So every variant is trained with
# several seeds, and a variant is compared with the baseline of the same seed on the same session. The paper does not mention
# seeds; its two baselines, which should be alike, are 0.342 in Table 7 and 0.306 in Table 8.
#
# How long it takes, by `profile`: `smoke`, seconds for each cell, shows that everything runs, with models that have learned nothing; `quick`,
# five minutes on one CPU core, is large enough to see the effects; `laptop` is larger and takes about three hours of two cores for all
# notebooks together; `gpu` is meant for one GPU and `paper`, with the paper's sizes, for several (neither was run yet). What was trained
# before is found again.

# %% tags=["parameters"]
import os

# Words after its name change numbers of a profile (see calm/profiles/), as "smoke dat.layers=3 dat_fit.steps=80".
profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "cohort"  # simulation, cohort, or the path of a dataset description (data/README.md)
seed: int = 0  # of the split into trials and the choice of sessions; the seeds of the trainings are the profile's

# %% tags=["setup"]
import matplotlib.pyplot as plt
import pandas as pd

from calm.paper.claims.ablations import ablation_effects
from calm.paper.experiments.ablations import RECONSTRUCTION, ROLLOUTS, run_ablations, summarise_variants
from calm.paper.plots import PAGE
from calm.paper.plots.ablations import variant_panels
from calm.paper.results import read_tried
from calm.paper.study import RUNS, Study

study = Study(profile, dataset, seed=seed)
results = study.results
stages = run_ablations(results, study.recordings, seed=seed, runs=RUNS)
table7, table8 = results.table("table7"), results.table("table8")
names = {metric: f"{way} rollout" for way, metric in ROLLOUTS.items()}
differences = ablation_effects(pd.concat([table7, table8]))

# %% [markdown]
# ## What was trained
#
# Every stage is kept under a hash of all that it was made from. Stages that are the same have the same name here, and were
# trained once; after a kill, only what is missing is trained. The first seed:

# %%
distinct = {stage: stages.drop_duplicates(stage) for stage in ("quantizer", "transformer")}
for stage, each in distinct.items():
    print(f"{len(each)} {stage}s for {len(stages)} rows, trained in {each[f'{stage} (s)'].sum() / 60:.1f} min")
stages[stages["seed"] == stages["seed"].iloc[0]].drop(columns="seed").round(1)

# %% [markdown]
# ## Terms of the quantizer
#
# Scores are correlations on test trials: of the forecast, over the frames of the horizon, and of the reconstruction from
# tokens, over the whole trial. A term may well be of no use to the reconstruction, or in its way, and help the forecast.
#
# The paper does not say how its forecasts are rolled out. Its code takes the likeliest token (greedy). The expected rollout,
# which feeds back all tokens by their probability, is as cheap and free of that choice's noise; it stands beside the paper's
# numbers in the report. The weights of every training were chosen by it, on validation trials. No learning rate is
# searched here: all variants have the profile's.

# %%
figure, axes = plt.subplots(2, 2, figsize=(PAGE, 4.4), sharey=True)
variant_panels(list(axes[0]), table7, differences, names, "forecast correlation")
variant_panels(list(axes[1]), table7, differences, {RECONSTRUCTION: "from tokens"}, "reconstruction correlation")
study.save("table7", figure)
summarise_variants(table7).round(3)

# %% [markdown]
# **Table 7.** Left: every training as a dot, the mean over the sessions; crosses, what the paper's table has for its own mice. Right: what the part adds, baseline minus variant of the
# same seed, on each session; right of zero, the part helps. The interval is of the mean over trainings: seeds are what is
# repeated, sessions of one seed share a training and its luck. With few seeds it is wide, and rightly so.
#
# ## Strategies of the transformer

# %%
figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.4), sharey=True)
variant_panels(list(axes), table8, differences, names, "forecast correlation")
study.save("table8", figure)
summarise_variants(table8).round(3)

# %% [markdown]
# **Table 8.** As Table 7, whose baseline it shares. Scheduled sampling trains the model on its own likeliest tokens, so the greedy
# rollout is where it should show most. Look first at how far above zero the greedy baseline is: where the models are trained
# too little for a greedy rollout to follow the traces, there is nothing for a strategy to add.
#
# ## The claim
#
# Each term of the quantizer and each training strategy of the transformer helps, scheduled sampling most (claim 18).
#
# Differences are paired by session and seed. `p` is of random sign flips of these pairs, and about these trainings; `p_sessions` is
# of a t test over the seeds' means, and about trainings like them. Both are corrected over the five parts (Holm). The
# claim for a part holds if both are below 0.05, and "for these sessions", as trained here, if only the first is. "Most" compares
# scheduled sampling with each other part; the least sure of these comparisons counts. Fewer than eight pairs cannot reach 0.05
# after the correction: then nothing can be tested.

# %%
study.verdicts([18])

# %% [markdown]
# ## What was tried to choose the numbers
#
# The profiles' numbers were chosen on validation trials. This is what was tried on transformers of profile quick, on the tokens of one
# quantizer (seed 0, but where it is changed itself); what did not help is listed too. `forecast` is the correlation of forecasts of
# validation trials, `place` how well embeddings of left-out neurons tell that tuning (r), each by the seed of the training. Compare
# within a column: seeds differ by more than most changes do. A row tells what differs from the profile as it was before it had loadings
# (`dat.loadings`): 1500 steps at most, and ten times the rate for what belongs to a session. `cohort.seed=1` are other mice. Rows that begin with
# `as kept` and `dat_fit.rows` differ from what was kept of those above them.

# %%
index = ["dataset", "changes"]
read_tried().pivot_table(index=index, columns="seed", values=["forecast", "place"], sort=False).round(3).astype(object).fillna("")

# %% [markdown]
# Targets softened over codes that are alike won on the synthetic mice with each of three seeds and lost on the simulation with two of
# three, so they were not kept. Loadings won on both sets of mice, and in fewer steps; on the simulation they learn faster, not better.
# Without what noise adds to them, and with a fifth of the batches without any, they do as well where trials are many (0.449 and 0.363 on the
# two sets of mice, 0.444 and 0.370 before), and better where a new mouse has few: with 0, 5 and 20 trials of it 0.447, 0.445 and 0.468, where
# it was 0.375, 0.421 and 0.455 (validation trials, mean of three sessions). Fewer rows a step, in as many steps, are as good on the synthetic mice and better on the
# simulation, in two thirds of the time. The squared error of the expected code (`dat.weight_expected`) changes little on the mice
# and on the simulation of quick, and makes the difference on a network of profile laptop where little can be told of the next token. What is
# missing there without it is not in the tokens (ridge VAR and continuous patches forecast from reconstructed contexts as well as from the
# traces, 0.363 and 0.365, 0.347 and 0.351), nor are fewer codes or more steps enough. With a weight of 30, heads on the features decode
# the mice of quick with a squared error of 0.62 and 0.53 on validation trials (held-in and held-out) where it was 0.63 and 0.56.
#
# Fine-tuned on traces for 1000 steps, not 400, the model of profile laptop forecasts validation trials of the mice better by 0.003 to 0.010; then
# it knows its training trials by heart. More dropout, fewer neurons a step and a higher rate do not help there. Held-out mice need many steps of
# adapting: 3000, not 750, raise their validation score from 0.398 to 0.417, and on a trunk that was fine-tuned to 0.436; adapting once more
# after that adds nothing.
