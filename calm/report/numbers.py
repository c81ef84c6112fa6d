"""The report: every published value beside ours, and the paper's claims with their verdicts."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from calm.claims import judge_claim_2, judge_claim_3, judge_claim_4
from calm.provenance import read_provenance
from calm.results import TRY, read_item, read_results, summarise, write_whole

PUBLISHED = Path(__file__).parents[1] / "data" / "published.csv"
KEYS = ["item", "dataset", "split", "method", "metric"]
NO_COUNTERPART = "paper gives no number"
NO_RECORDINGS = "needs the recordings"
NOT_RUN = "not computed"
JUDGES = {
    "fig3b_trials": judge_claim_2,
    "fig3c_trials": judge_claim_3,
    "fig3d_trials": judge_claim_4,
}  # by what they read
STATEMENTS = {
    "claim 2": "On simulation, CalM forecasts better than every other method (Sec. 6.2).",
    "claim 3": "So do models of single recordings (Sec. 6.2).",
    "claim 4": "On many sessions CalM is competitive with POCO, held-in and held-out; here: not worse by 0.02.",
}
SCORES = ("corr", "mse")  # metrics worth a line in the terminal
SIZES = (  # what a reader has to know to judge the numbers; every other setting is in provenance.json
    *("simulation.seeds", "simulation.trials", "simulation.neurons", "simulation.frames"),
    *("quantizer.width", "quantizer.encoder_layers", "quantizer_fit.epochs"),
    *("dat.width", "dat.layers", "dat_fit.epochs", "forecast.context", "forecast.samples"),
)


def read_published() -> pd.DataFrame:
    """The published values (`data/published.csv`); an empty variant stays an empty string."""
    numbers = {"value": [""], "sem_or_sd": [""], "n": [""]}
    return pd.read_csv(PUBLISHED, keep_default_na=False, na_values=numbers)


def compare(ours: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Published values beside ours (a table of `summarise`), with a note wherever one of the two is missing.

    A published row without a variant stands beside each of our variants of that method.
    """
    exact = set(published[[*KEYS, "variant"]].itertuples(index=False, name=None))
    named = ours[[*KEYS, "variant"]].itertuples(index=False, name=None)
    ours = ours.assign(paper_variant=[key[-1] if key in exact else "" for key in named])
    paper = published.rename(columns={"variant": "paper_variant", "value": "paper", "sem_or_sd": "paper_spread"})
    both = ours.rename(columns={"mean": "ours"}).merge(
        paper.drop(columns="n"), how="outer", on=[*KEYS, "paper_variant"], indicator="found"
    )
    missing = both["dataset"].isin(set(ours["dataset"])).map({True: NOT_RUN, False: NO_RECORDINGS})
    note = both["found"].astype(str).map({"both": "", "left_only": NO_COUNTERPART}).fillna(missing)
    both = both.assign(variant=both["variant"].fillna(both["paper_variant"]), note=note)
    return both[[*KEYS, "variant", "paper", "paper_spread", "source", "ours", "sem", "n", "note"]]


def number(value: float, spread: float) -> str:
    """`0.742 ± 0.010`; without the spread where it is unknown, and nothing for no number."""
    if pd.isna(value):
        return ""
    return f"{value:.3f}" if pd.isna(spread) else f"{value:.3f} ± {spread:.3f}"


def method_names(rows: pd.DataFrame) -> list[str]:
    """`CalM, mean of 64`: method and, if any, variant."""
    pairs = zip(rows["method"], rows["variant"].fillna(""), strict=True)
    return [f"{method}, {variant}" if variant else method for method, variant in pairs]


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown, its texts as they are."""
    return table.to_markdown(index=False, disable_numparse=True)


def comparison_section(item: str, rows: pd.DataFrame, folder: Path) -> str:
    """Heading, figure (where there is one in `folder`) and table of one item."""
    shown = pd.DataFrame(
        {
            "dataset": rows["dataset"],
            "split": rows["split"],
            "method": method_names(rows),
            "metric": rows["metric"],
            "paper": [number(*pair) for pair in zip(rows["paper"], rows["paper_spread"], strict=True)],
            "ours": [number(*pair) for pair in zip(rows["ours"], rows["sem"], strict=True)],
            "n": ["" if pd.isna(n) else str(int(n)) for n in rows["n"]],
            "note": rows["note"],
            "source": rows["source"].fillna(""),
        }
    )
    figure = f"![{item}]({item}.png)\n\n" if (folder / f"{item}.png").exists() else ""
    return f"## {item}\n\n{figure}{markdown(shown)}\n"


def cost_section(item: str, rows: pd.DataFrame) -> str:
    """Heading and tables of what the methods took: a row a method, and what each try scored."""
    forms = rows["metric"].map({"parameters": "{:,.0f}", TRY: "{:.3f}"}).fillna("{:,.2f}")
    shown = [form.format(value) for form, value in zip(forms, rows["ours"], strict=True)]
    rows = rows.assign(method=method_names(rows), shown=shown)
    tries = rows["metric"] == TRY
    costs = rows[~tries].pivot_table(index="method", columns="metric", values="shown", aggfunc="first", fill_value="")
    tried = rows.loc[tries, ["method", "shown"]].rename(columns={"shown": "forecast correlation, validation"})
    how = (
        "Means over the sessions. Training: of the weights that were kept, validation included; search: of all tries"
        " together, which for CalM differ in the transformer only. Wall time on the device named above."
    )
    return f"## {item}\n\n{how}\n\n{markdown(costs.reset_index())}\n\n{markdown(tried)}\n"


def figure_section(item: str) -> str:
    """Heading and figure of an item whose numbers have a table of their own shape."""
    return f"## {item}\n\n![{item}]({item}.png)\n\nThe numbers: [{item}.csv]({item}.csv).\n"


def sections_of(comparison: pd.DataFrame, folder: Path) -> list[str]:
    """A section for each item that has rows or a figure, by name."""
    sections = {
        str(item): cost_section(str(item), rows) if item.endswith("_cost") else comparison_section(item, rows, folder)
        for item, rows in comparison.groupby("item")
    }
    figures = sorted(path.stem for path in folder.glob("*.png"))
    sections |= {item: figure_section(item) for item in figures if item not in sections}
    return [sections[item] for item in sorted(sections)]


def claims_section(claims: pd.DataFrame) -> str:
    """The claims with effect, 95 % interval, corrected p and verdict, a table for each."""
    how = (
        "Differences in per-trial correlation, paired over the test trials. p (trials): sign-flip permutations, about"
        " these very sessions. p (sessions) and the interval: t test over the sessions' means, about sessions like them"
        " (with one session, the interval is of its trials). Both p after Holm over the methods. A claim holds if"
        " both are below 0.05, and holds for these sessions if only the first is."
    )
    parts = [
        f"**{str(claim).capitalize()}.** {STATEMENTS[str(claim)]}\n\n{markdown(claim_table(rows))}"
        for claim, rows in claims.groupby("item", sort=False)
    ]
    return "\n\n".join(["## Claims", how, *parts]) + "\n"


def claim_table(claims: pd.DataFrame) -> pd.DataFrame:
    """The tests of a claim, as text."""
    return pd.DataFrame(
        {
            "comparison": method_names(claims),
            "effect": [number(value, float("nan")) for value in claims["ours"]],
            "95 % interval": [
                "" if pd.isna(low) else f"{low:.3f} to {high:.3f}"
                for low, high in zip(claims["low"], claims["high"], strict=True)
            ],
            "p (trials)": ["" if pd.isna(p) else f"{p:.2g}" for p in claims["p"]],
            "p (sessions)": ["" if pd.isna(p) else f"{p:.2g}" for p in claims["p_sessions"]],
            "verdict": claims["note"],
        }
    )


def distinct(entries: Sequence[dict[str, Any]], key: str) -> str:
    """The values of one provenance field over all items."""
    return ", ".join(dict.fromkeys(str(entry.get(key)) for entry in entries))


def commits(entries: Sequence[dict[str, Any]]) -> str:
    """The commits behind the items, each with a word on uncommitted changes."""
    named = [
        f"{entry['commit'][:12]}{' with uncommitted changes' * bool(entry['dirty'])}" if entry["commit"] else "unknown"
        for entry in entries
    ]
    return ", ".join(dict.fromkeys(named))


def sizes(entries: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The main sizes among the settings of all items."""
    flat = [pd.json_normalize(entry["config"]).iloc[0].to_dict() for entry in entries if entry["config"]]
    found = {key: dict.fromkeys(str(config[key]) for config in flat if key in config) for key in SIZES}
    return {key: ", ".join(values) for key, values in found.items() if values}


def header(profile: str, entries: Sequence[dict[str, Any]]) -> str:
    """Title, and what the numbers were made with."""
    # Items of one notebook carry the same entry, and its wall time only once.
    runs = {json.dumps(entry, sort_keys=True): entry["wall_time_s"] for entry in entries}
    facts = {
        "profile": profile,
        "commit": commits(entries),
        "device": distinct(entries, "device"),
        "threads": distinct(entries, "threads"),
        "date": distinct(entries, "date"),
        "wall time": f"{sum(runs.values()) / 60:.1f} min in all",
        **sizes(entries),
    }
    note = (
        "Ours: mean ± standard error over n sessions. Paper: the spread it gives, where it gives one. Results on"
        " synthetic data stand by themselves; they are not measurements of the recordings of the paper."
    )
    made_with = markdown(pd.DataFrame(facts.items(), columns=["", "value"]))
    return f"# Paper and ours, profile {profile}\n\n{made_with}\n\n{note}\n"


def write_report(figures: Path, profile: str) -> Path:
    """Write `figures/<profile>/report.md` and `report.csv` from the results tables there; returns the former.

    Raises:
        CalmError: there are no results yet.
    """
    folder = figures / profile
    comparison = compare(summarise(read_results(folder)), read_published())
    sections = [header(profile, list(read_provenance(folder / "provenance.json").values()))]
    sections += sections_of(comparison, folder)
    found = {item: folder / f"{item}.csv" for item in JUDGES}
    claims = [JUDGES[item](read_item(path)) for item, path in found.items() if path.exists()]
    sections += [claims_section(pd.concat(claims, ignore_index=True))] if claims else []
    tables = [comparison, *claims]
    write_whole(folder / "report.csv", lambda file: pd.concat(tables, ignore_index=True).to_csv(file, index=False))
    write_whole(folder / "report.md", lambda file: file.write_text("\n".join(sections)))
    return folder / "report.md"


def print_summary(report: Path) -> None:
    """Print the test scores and verdicts of a `report.csv`, paper beside ours, in 80 columns or little more."""
    rows = pd.read_csv(report, keep_default_na=False, na_values={"ours": [""], "paper": [""], "sem": [""], "n": [""]})
    is_claim = rows["item"].str.startswith("claim")
    scores = rows[~is_claim & rows["ours"].notna() & (rows["split"] == "test") & rows["metric"].isin(SCORES)]
    shown = pd.DataFrame(
        {
            "item": scores["item"],
            "method": method_names(scores),
            "metric": scores["metric"],
            "paper": [number(value, float("nan")) or "-" for value in scores["paper"]],
            "ours": [number(*pair) for pair in zip(scores["ours"], scores["sem"], strict=True)],
            "n": scores["n"].astype(int),
        }
    )
    print(shown.to_string(index=False))
    for claim, name in zip(rows[is_claim].itertuples(), method_names(rows[is_claim]), strict=True):
        print(f"{claim.item}: {name}: {claim.note}")
    print(f"{(rows['note'] == NO_RECORDINGS).sum()} published values need the recordings; all rows are in report.md.")
    print(f"Figures and tables: {report.parent}")


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1])
    write_report(FOLDER.parent, FOLDER.name)
    print_summary(FOLDER / "report.csv")
