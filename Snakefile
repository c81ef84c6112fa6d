"""The whole companion: `snakemake --cores all`, and `--config profile=... dataset=... seed=...` for more.

A profile may be changed: `--config 'profile=quick dat.layers=3'`.
"""

import hashlib
import json
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

from calm.config.synthetic import COHORT, SIMULATION
from calm.data.descriptions import load_dataset, states
from calm.errors import CalmError
from calm.paper.report.timing import print_times
from calm.paths import RUNS, file_name
from calm.profile import load_profile

BEGUN = time.time()
KNOWN = {"profile": "quick", "dataset": COHORT, "seed": 0, "processes": 1}

if unknown := sorted(set(config) - set(KNOWN)):
    raise WorkflowError(f"There is no --config {unknown[0]!r}: there are {', '.join(KNOWN)}.")
PROFILE, DATASET, SEED, PROCESSES = ({**KNOWN, **config}[name] for name in KNOWN)
if type(SEED) is not int or SEED < 0:
    raise WorkflowError(f"--config seed={SEED!r} is no whole number from 0 on: write seed=1.")
if type(PROCESSES) is not int or PROCESSES < 1:
    raise WorkflowError(f"--config processes={PROCESSES!r} is no whole number from 1 on: write processes=4.")
OWN = DATASET in (COHORT, SIMULATION)
NAME, FILES, DECODES = DATASET, [], True
try:
    load_profile(str(PROFILE))
    if not OWN:
        description = load_dataset(str(DATASET))
        NAME, FILES, DECODES = description.name, [Path(DATASET), *description.paths()], description.has_behaviour
except CalmError as error:
    raise WorkflowError(str(error)) from error

RECORDINGS = [
    *("00_data", "02_tokenizer", "03_pretraining", "04_forecasting", *["05_decoding"] * DECODES, "06_embeddings"),
    *("07_dynamics", "08_ablations", "11_scale", "12_transfer"),
]
# The default is everything: the simulation and the synthetic mice.
NOTEBOOKS = {SIMULATION: ["01_simulation"], COHORT: ["01_simulation", *RECORDINGS]}.get(NAME, RECORDINGS)
# What a user wrote may hold anything, so none of it comes into a rule. Commands have a whole number and names made by `file_name`;
# profile and path of a description are handed over in files; and the recordings are a hash of what they are.
SCALE = file_name(str(PROFILE))
EXECUTED = f"runs/notebooks/{SCALE}/{file_name(NAME)}/{SEED}"
FOLDER = f"figures/{SCALE}" if OWN else f"figures/{SCALE}/{file_name(NAME)}"
PARAMETERS = {"profile": str(PROFILE), "seed": SEED}
SIMULATED, RECORDED = f"{EXECUTED}/simulation.json", f"{EXECUTED}/recordings.json"
STATES = [states(path) for path in FILES]
STATE = hashlib.sha256(json.dumps(STATES).encode()).hexdigest()
LIBRARY = [str(path) for path in sorted(Path("calm").rglob("*")) if path.suffix in {".py", ".yaml", ".css", ".csv", ".md"}]


onstart:
    Path(EXECUTED).mkdir(parents=True, exist_ok=True)
    Path(SIMULATED).write_text(json.dumps(PARAMETERS))
    Path(RECORDED).write_text(json.dumps({**PARAMETERS, "dataset": str(DATASET)}))


onsuccess:
    print_times(Path(EXECUTED), RUNS, BEGUN)


localrules:
    report,  # prints a table: where the user is, not in a job


rule report:
    input:
        f"{EXECUTED}/09_report.ipynb",
    output:
        touch(f"{EXECUTED}/report.done"),
    shell:
        "python -m calm.paper.report {FOLDER}"


rule page:
    input:
        expand(f"{EXECUTED}/{{notebook}}.ipynb", notebook=NOTEBOOKS),
        notebook="notebooks/09_report.ipynb",
    output:
        f"{EXECUTED}/09_report.ipynb",
    benchmark:
        f"{EXECUTED}/09_report.tsv"
    shell:
        "python -m calm.paper.report.executed {EXECUTED} {FOLDER} && python -m calm.run {input.notebook} {output} @{RECORDED}"


# Steps of small models gain little from a second thread, so two notebooks run side by side on half the cores each. Threads that
# wait actively make a training twenty times slower as soon as anything else runs on the machine.
CORES = workflow.resource_settings.cores or 8  # a cluster is told how many jobs it may run, not on how many cores
HALF = max(1, CORES // 2)
THREADS = "OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS={threads}"

# Which notebook trains or prepares what the next one uses. Any order gives the same results, and of two that need the same
# training one waits for the other; which costs time.
BEFORE = {"02_tokenizer": "00_data", "03_pretraining": "02_tokenizer", "04_forecasting": "03_pretraining"}
BEFORE |= {"05_decoding": "03_pretraining", "06_embeddings": "03_pretraining", "07_dynamics": "04_forecasting"}
BEFORE |= {"08_ablations": "00_data", "11_scale": "03_pretraining", "12_transfer": "03_pretraining"}
ABLATIONS = ["08_ablations"]  # nothing waits for it, but it is so long that it must not come last
ASIDE = ["06_embeddings", "11_scale", "12_transfer"]  # nor for these


def earlier(wildcards):
    """The executed notebook whose stages this one takes up, or the training on several processes, which no notebook can start."""
    before = BEFORE.get(wildcards.notebook)
    if before == "00_data" and PROCESSES > 1:
        return [f"{EXECUTED}/trained.done"]
    return [f"{EXECUTED}/{before}.ipynb"] if before else []


rule training:
    input:
        LIBRARY,
        f"{EXECUTED}/00_data.ipynb",
    output:
        touch(f"{EXECUTED}/trained.done"),
    params:
        recorded=STATE,
    threads: CORES
    message:
        "Training on {PROCESSES} processes, profile {SCALE}"
    shell:
        "python -m torch.distributed.run --standalone --nproc-per-node {PROCESSES} -m calm.train @{RECORDED}"


rule simulation:
    input:
        LIBRARY,
        notebook="notebooks/01_simulation.ipynb",
    output:
        f"{EXECUTED}/01_simulation.ipynb",
    benchmark:
        f"{EXECUTED}/01_simulation.tsv"
    priority: 2
    threads: HALF
    message:
        "01_simulation, profile {SCALE}"
    shell:
        THREADS + " python -m calm.run {input.notebook} {output} @{SIMULATED}"


rule recordings:
    input:
        LIBRARY,
        earlier,
        notebook="notebooks/{notebook}.ipynb",
    output:
        f"{EXECUTED}/{{notebook}}.ipynb",
    benchmark:
        f"{EXECUTED}/{{notebook}}.tsv"
    wildcard_constraints:
        notebook="|".join(name for name in RECORDINGS if name not in ABLATIONS + ASIDE),
    params:
        recorded=STATE,  # a rule is run again when this changes
    priority: 2  # the longest chain
    threads: HALF
    message:
        "{wildcards.notebook}, profile {SCALE}"
    shell:
        THREADS + " python -m calm.run {input.notebook} {output} @{RECORDED}"


use rule recordings as ablations with:
    wildcard_constraints:
        notebook="|".join(ABLATIONS),
    priority: 1


use rule recordings as aside with:
    wildcard_constraints:
        notebook="|".join(ASIDE),
    priority: 0
