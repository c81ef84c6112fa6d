"""How the time of a training step grows with neurons and with tokens: power laws, fitted in logarithms."""

import numpy as np
import pandas as pd

AXES = {"step against neurons": "neurons", "step against tokens": "tokens"}  # section of the table, and its size


def growing_steps(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the two sections of AXES that have a time, with their `axis` and their `size` along it."""
    parts = [table[table["section"] == section].assign(axis=axis, size=table[axis]) for section, axis in AXES.items()]
    return pd.concat(parts).dropna(subset="ms")


def exponents(steps: pd.DataFrame) -> pd.DataFrame:
    """ms = factor * size ^ exponent for each axis and model with two sizes or more, and the exponent of the FLOPs."""
    rows = []
    for (axis, model), sizes in steps.groupby(["axis", "model"], sort=False):
        if len(sizes) > 1:
            exponent, factor = power_law(sizes["size"], sizes["ms"])
            arithmetic, _ = power_law(sizes["size"], sizes["TFLOP"])
            about = {"section": "complexity", "model": model, "setting": f"step against {axis}", "axis": axis}
            rows.append({**about, "exponent": exponent, "factor": factor, "exponent of FLOPs": arithmetic})
    return pd.DataFrame(rows, columns=None if rows else ["axis", "model", "exponent", "factor"])


def power_law(sizes: pd.Series, values: pd.Series) -> tuple[float, float]:
    """Exponent a and factor c of values = c * sizes^a, by least squares in logarithms."""
    exponent, logarithm = np.polyfit(np.log(sizes.astype(float)), np.log(values.astype(float)), 1)
    return float(exponent), float(np.exp(logarithm))
