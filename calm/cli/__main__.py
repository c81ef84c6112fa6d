"""From a recording to a file in one command, as `calm forecast recording.nwb --out forecasts.nwb`."""

import argparse
import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import calm
from calm.cli.tables import frame_table, write_table
from calm.data.contents import inspect, layout_of, nwb_keys, used
from calm.data.descriptions import Dataset, describe, load_dataset
from calm.data.preparation import to_unit
from calm.data.session import FIRST_FRAME, Session
from calm.errors import RESUMES, CalmError, command
from calm.metrics import channel_scores
from calm.paths import RUNS, address_of, ensure_writable
from calm.profile import Profile, load_profile
from calm.recordings import read_recordings
from calm.storage import is_stored
from calm.training.checks import check_positive

WEIGHTS = "small"  # that come with calm
GAP = 4  # frames without a value, at most, that a trace is mended over


def forecast(arguments: Namespace) -> None:
    """Adapt the transformer that ships to a recording, and forecast its test trials, or beyond its end."""
    check_positive(beyond=arguments.beyond)
    session, profile = read(arguments, context=arguments.context)
    model = adapted(session, profile, arguments.seed).finetune([session], seed=arguments.seed, runs=RUNS)
    if arguments.beyond:
        forecast_beyond(arguments, model, session)
        return
    trials = session.trials_of("test")
    if arguments.out.suffix == ".nwb":
        model.write_nwb(arguments.out, session, trials)
    else:
        futures = model.forecast(session, trials, unit="original")
        write_table(arguments.out, frame_table(session, trials, futures, first=profile.forecast.context))
    print(f"{arguments.out}: forecasts of the {len(trials)} test trials of {session.name}.")


def forecast_beyond(arguments: Namespace, model: "calm.CalM", session: Session) -> None:
    """Forecast what comes after the last trial, whichever split it is in: nobody has seen it."""
    last = session.trials[FIRST_FRAME].to_numpy(float).argmax(keepdims=True)
    futures = model.forecast_beyond(session, last, horizon=arguments.beyond, unit="original")
    first = int(session.frames[last[0]])
    table = frame_table(session, last, futures, first=first)
    if arguments.out.suffix == ".nwb":
        from calm.data.readers.nwb_file import Stretches, write_nwb  # pynwb takes seconds to load

        write_nwb(arguments.out, session, {"forecast_beyond": Stretches(futures, last, np.array([first]))})
    else:
        write_table(arguments.out, table)
    print(f"{arguments.out}: forecasts of {session.name} from {table['time'][0]:.3f} s on, the end of its last trial.")


def tokenize(arguments: Namespace) -> None:
    """Tokens of all trials; the `time` of a token is that of its first frame."""
    weights = calm.load_pretrained(WEIGHTS)
    window = weights.quantizer.model.config.window
    session, _ = read(arguments, context=window)
    trials = np.arange(len(session.traces))
    write_table(arguments.out, frame_table(session, trials, weights.tokenize(session), step=window))
    print(f"{arguments.out}: tokens, of {window} frames each, of the {len(trials)} trials of {session.name}.")


def decode(arguments: Namespace) -> None:
    """Train a head on the features of the transformer that ships, adapted, and decode a recording's test trials."""
    session, profile = read(arguments, context=arguments.context, behaviour=arguments.behaviour)
    model, trials = adapted(session, profile, arguments.seed), session.trials_of("test")
    decoded = [each.T for each in model.decode(session, trials, unit="original", seed=arguments.seed, runs=RUNS)]
    recorded = to_unit(session.behaviour_scale, [session.behaviour[trial].T for trial in trials], "original")
    both = [np.concatenate(pair) for pair in zip(recorded, decoded, strict=True)]
    names = [*session.behaviour_names, *(f"{name} decoded" for name in session.behaviour_names)]
    write_table(arguments.out, frame_table(session, trials, both, names=names))
    scores = channel_scores(*(np.concatenate(each, axis=1).T for each in (recorded, decoded)))["corr"].round(3)
    listed = ", ".join(f"{name} {score}" for name, score in zip(session.behaviour_names, scores, strict=True))
    print(f"{arguments.out}: correlation over all frames of the {len(trials)} test trials: {listed}.")


def info(arguments: Namespace) -> None:
    """What a recording holds, or the numbers of weights."""
    path = Path(arguments.recording)
    if address_of(path) or (path.exists() and not is_stored(path)):
        inspect(path, rate=arguments.rate)
        return
    weights = calm.load_pretrained(arguments.recording)
    scores = ", ".join(f"{name} {score:.3f}" for name, score in weights.scores.items())
    print(f"{weights.quantizer.key}: on held-out synthetic recordings r = {scores}")
    print(json.dumps(weights.recipe, indent=1))


def read(arguments: Namespace, **keys: Any) -> tuple[Session, Profile]:
    """The prepared session of a recording, and the numbers to train with: as many steps as one session is worth.

    Only fine-tuning is not cut short: no transformer is trained from nothing before it.

    Raises:
        CalmError: what is wrong with the recording or the `keys` of its description; or it holds several sessions.
    """
    keys = {key: value for key, value in {"rate": arguments.rate, **keys}.items() if value is not None}
    profile = load_profile(getattr(arguments, "profile", "quick"))
    profile = profile.shortened(profile.single_share).changed(finetune_fit=profile.finetune_fit)
    least = keys.get("context", profile.forecast.context) + profile.quantizer.window
    dataset = describe_recording(Path(arguments.recording), keys, least)
    recordings = read_recordings(dataset, profile, arguments.seed, ensure_writable(RUNS))
    sessions = [session for _, session in recordings.each()]
    if len(sessions) > 1:
        raise CalmError(f"{arguments.recording} has {len(sessions)} sessions: name one file, or use calm in Python.")
    print(used(sessions[0]))
    return sessions[0], recordings.profile


def describe_recording(path: Path, keys: Mapping[str, Any], least: int) -> Dataset:
    """The description that was named, with these keys; or one of a recording, which leaves out what cannot be used.

    Short gaps in traces are filled, neurons with other faults left out, and trials of fewer than `least` frames; a
    recording without enough trials is cut into windows. What of several traces or tables is taken is told.
    """
    if path.suffix in (".yaml", ".yml"):
        return load_dataset(path).changed(**keys)
    layout, files = layout_of(path), address_of(path) or str(path.absolute())
    guess = nwb_keys(path, least) if layout == "nwb" else {}
    if guess:
        told = yaml.safe_dump(guess, default_flow_style=True, width=1000).strip()
        print(f"{path.name} is read with {told}; `calm info` shows what else there is, and a description to change.")
    trials = {"min_frames": least} if layout == "nwb" and "windows" not in guess else {}
    about = {"name": path.stem, "files": files, "layout": layout, "fill_gaps": GAP, "bad_neurons": "drop", **trials}
    return describe(about | guess | dict(keys), path.name)


def adapted(session: Session, profile: Profile, seed: int) -> "calm.CalM":
    """The transformer that ships, knowing one session; found again."""
    return calm.load_pretrained(WEIGHTS).adapt([session], profile, seed=seed, runs=RUNS)


COMMANDS = {  # what each writes, and as which files
    forecast: (
        "what neurons do after the context of trials that training did not see, or beyond the recording",
        (".nwb", ".csv", ".npz"),
    ),
    tokenize: ("the tokens of all trials; trains nothing", (".csv", ".npz")),
    decode: ("behaviour of trials that training did not see, beside what was recorded", (".csv", ".npz")),
    info: ("what a recording holds, or what weights were made with, on the screen", ()),
}


def make_parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    parser = argparse.ArgumentParser(prog="calm", description="From a calcium recording to a file, without Python.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for action, (what, endings) in COMMANDS.items():
        one = commands.add_parser(action.__name__, help=what, description=f"Write {what}.")
        one.set_defaults(action=action)
        one.add_argument("recording", help="an NWB file, Suite2p's folder, CaImAn's HDF5, CSV, NPZ; or a description")
        one.add_argument("--rate", type=float, help="frames per second, where the file does not say")
        if endings:
            one.add_argument("--out", type=Path, required=True, help=f"file to write: {', '.join(endings)}")
            one.add_argument("--seed", type=int, default=0, help="of the split into trials, and of training")
        if action in (forecast, decode):
            one.add_argument("--context", type=int, help="frames of each trial that a forecast starts from")
            one.add_argument("--profile", default="quick", help="size of the models, as 'quick dat.layers=3'")
        if action is forecast:
            one.add_argument("--beyond", type=int, metavar="FRAMES", help="after the end of the last trial, instead")
        if action is decode:
            one.add_argument("--behaviour", nargs="+", required=True, help="names of series in the recording")
    return parser


def check_output(path: Path, endings: Sequence[str]) -> None:
    """Refuse, before any work is done, a file that could not be written in the end."""
    if path.suffix not in endings:
        raise CalmError(f"{path} has none of the endings {', '.join(endings)}: choose one.")
    if path.exists():
        raise CalmError(f"{path} exists: choose another name, or move it away.")
    ensure_writable(path.parent)


def main(words: Sequence[str] | None = None) -> None:
    """Run one command; a user's mistake ends with one sentence and exit status 1."""
    arguments = make_parser().parse_args(words)
    with command(interrupted=RESUMES):
        if "out" in arguments:
            check_output(arguments.out, COMMANDS[arguments.action][1])
        arguments.action(arguments)


if __name__ == "__main__":
    main()
