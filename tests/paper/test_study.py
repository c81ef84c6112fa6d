"""What a notebook begins with."""

import pandas as pd

from calm.models.codebook import Codebook
from calm.models.heads import LinearHead
from calm.paper.results import Results
from calm.paper.study import Study, show_code


def test_the_code_beside_an_equation_is_the_one_that_runs():
    shown = show_code(Codebook.nearest, LinearHead.read_out).data
    compile(shown, "shown", "exec")  # whole functions, from the left margin on
    assert "return self.distances(latent).argmin(-1)" in shown and "def read_out(" in shown


def test_a_history_is_a_row_for_each_validation_of_loss_and_score():
    study = object.__new__(Study)  # reading recordings takes long, and none are needed
    study.results = Results("made", seed=0)
    history = pd.DataFrame({"step": [5, 10], "loss": [3.0, 2.0], "val": [0.1, 0.4], "seconds": [1.0, 1.0]})
    study.add_history(history, item="fig1_training", method="CalM")
    rows = study.results.table("fig1_training").set_index(["metric", "step"])["value"]
    assert rows.to_dict() == {("loss", 5): 3.0, ("loss", 10): 2.0, ("val", 5): 0.1, ("val", 10): 0.4}
