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
# # The paper and ours
#
# Every figure and table of the paper in its order, each with what this profile got for it; and the paper's 18 claims, each as a test
# with a verdict. Nothing is computed here but the tests: the page is made of the tables and figures that the other notebooks left
# behind. What they have not made yet is on the page as well, and said to be missing.
#
# Three things to keep in mind while reading:
#
# - The paper's numbers are of its recordings, DANDI:000579. Ours are of the dataset named beside them. Synthetic data say whether the
#   method does what is claimed where the truth is known. They say nothing about the recordings of the paper.
# - A claim *holds* if its tests say so about sessions like these, and *holds for these sessions* if they can speak of no others.
# - Tables 3-6 are rendered from the settings that the code reads, so that they cannot say anything else.
#
# The same page is written to `report.html` (one file, small copies of the images inside, prints on A4), `report.md` and, the numbers
# alone, `report.csv`; `python -m calm.paper.report figures/<profile>` does so without a notebook.

# %% tags=["parameters"]
import os

# Words after its name change numbers of a profile (see calm/profiles/), as "smoke dat.layers=3 dat_fit.steps=80".
profile: str = os.environ.get("CALM_PROFILE", "quick")  # smoke, quick, laptop, gpu or paper: how large
dataset: str = "cohort"  # simulation, cohort, or the path of a dataset description (data/README.md)
seed: int = 0  # as in the other notebooks; nothing is drawn here

# %% tags=["setup"]
from IPython.display import HTML, display

from calm.config.synthetic import COHORT, SIMULATION
from calm.data.descriptions import load_dataset
from calm.paper.results import figures_folder
from calm.paper.report.page import write_report

name = dataset if dataset in (COHORT, SIMULATION) else load_dataset(dataset).name
contents = write_report(figures_folder(profile, name))
display(HTML((contents.folder / "report.html").read_text(encoding="utf-8")))
