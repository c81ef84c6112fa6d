"""The whole companion: `snakemake --cores all`, and `--config profile=... dataset=... seed=...` for more."""

from pathlib import Path

from snakemake.exceptions import WorkflowError

from calm.config import COHORT, SIMULATION
from calm.profile import load_profile
from calm.data.descriptions import load_dataset
from calm.errors import CalmError

KNOWN = {"profile": "quick", "dataset": COHORT, "seed": 0}

if unknown := sorted(set(config) - set(KNOWN)):
    raise WorkflowError(f"There is no --config {unknown[0]!r}: there are {', '.join(KNOWN)}.")
SETTINGS = {**KNOWN, **config}
OWN = SETTINGS["dataset"] in (COHORT, SIMULATION)
NAME, DATA = SETTINGS["dataset"], []
try:
    load_profile(SETTINGS["profile"])
    if not OWN:
        description = load_dataset(SETTINGS["dataset"])
        NAME, DATA = description.name, [SETTINGS["dataset"], *map(str, description.paths())]
except CalmError as error:
    raise WorkflowError(str(error)) from error

RECORDINGS = [
    *("00_data", "02_tokenizer", "03_pretraining", "04_forecasting", "05_decoding", "06_embeddings", "07_dynamics"),
    *("08_ablations", "11_scale"),
]
# The default is everything: the simulation and the synthetic mice.
NOTEBOOKS = {SIMULATION: ["01_simulation"], COHORT: ["01_simulation", *RECORDINGS]}.get(NAME, RECORDINGS)
EXECUTED = f"runs/notebooks/{SETTINGS['profile']}/{NAME}/{SETTINGS['seed']}"
FOLDER = f"figures/{SETTINGS['profile']}" + ("" if OWN else f"/{NAME}")
LIBRARY = [str(path) for path in sorted(Path("calm").rglob("*")) if path.suffix in {".py", ".yaml", ".css", ".csv"}]
SETUP = f"profile={SETTINGS['profile']} seed={SETTINGS['seed']}"


rule report:
    input:
        f"{EXECUTED}/09_report.ipynb",
    output:
        touch(f"{EXECUTED}/report.done"),
    shell:
        "python -m calm.paper.report {FOLDER:q}"


rule page:
    input:
        expand(f"{EXECUTED}/{{notebook}}.ipynb", notebook=NOTEBOOKS),
        notebook="notebooks/09_report.ipynb",
    output:
        f"{EXECUTED}/09_report.ipynb",
    params:
        setup=SETUP,
        dataset=SETTINGS["dataset"],
    shell:
        "python -m calm.run {input.notebook} {output} {params.setup} dataset={params.dataset:q}"


# Steps of small models gain little from a second thread, so two notebooks run side by side on half the cores each. Threads that
# wait actively make a training twenty times slower as soon as anything else runs on the machine.
HALF = max(1, workflow.cores // 2)
THREADS = "OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS={threads}"

# Which notebook trains or prepares what the next one uses: without the order both would do it.
BEFORE = {"02_tokenizer": "00_data", "03_pretraining": "02_tokenizer", "04_forecasting": "03_pretraining"}
BEFORE |= {"05_decoding": "04_forecasting", "06_embeddings": "04_forecasting", "07_dynamics": "04_forecasting"}
BEFORE |= {"08_ablations": "00_data", "11_scale": "03_pretraining"}
ASIDE = ["08_ablations", "11_scale"]  # nothing waits for them


def earlier(wildcards):
    """The executed notebook whose stages this one takes up."""
    return [f"{EXECUTED}/{BEFORE[wildcards.notebook]}.ipynb"] if wildcards.notebook in BEFORE else []


rule simulation:
    input:
        LIBRARY,
        notebook="notebooks/01_simulation.ipynb",
    output:
        f"{EXECUTED}/01_simulation.ipynb",
    params:
        setup=SETUP,
    threads: HALF
    message:
        "01_simulation, profile {SETTINGS[profile]}"
    shell:
        THREADS + " python -m calm.run {input.notebook} {output} {params.setup}"


rule recordings:
    input:
        LIBRARY,
        DATA,
        earlier,
        notebook="notebooks/{notebook}.ipynb",
    output:
        f"{EXECUTED}/{{notebook}}.ipynb",
    wildcard_constraints:
        notebook="|".join(name for name in RECORDINGS if name not in ASIDE),
    params:
        setup=SETUP,
        dataset=SETTINGS["dataset"],
    priority: 1  # the longest chain
    threads: HALF
    message:
        "{wildcards.notebook}, profile {SETTINGS[profile]}"
    shell:
        THREADS + " python -m calm.run {input.notebook} {output} {params.setup}"
        " dataset={params.dataset:q}"


use rule recordings as aside with:
    wildcard_constraints:
        notebook="|".join(ASIDE),
    priority: 0
