"""A quantizer and a transformer as if they came out of their trainings."""

import pandas as pd

from calm.training.features import BackboneFeatures
from calm.training.stages import Trained
from calm.training.tokens import TokenSession, encode_trials


def frozen(quantizer, dat):
    """Their features."""
    stages = (Trained(model.eval(), pd.DataFrame(), type(model).__name__) for model in (quantizer, dat))
    return BackboneFeatures(*stages)


def tokenize(quantizer, session):
    """The tokens of a session, in memory."""
    return TokenSession(session.name, tuple(encode_trials(quantizer, session)), session.trials_of("train"))
