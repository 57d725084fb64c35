"""Study: what coordination is worth, and to whom. All modes side by side on the same hours.

    python -m cosim.experiments.studies.coordination --out results/coordination          # ieee37_stress
    python -m cosim.experiments.studies.coordination --all --out results/coordination    # the four shipped days

Leaves the costs of every mode against the welfare optimum, the prices at the data centers, how ADMM converges where
best response and averaging do not, and what the data centers gain by leading instead of taking prices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim import RunFailure, compare, run
from cosim.experiments.studies.common import (
    Findings,
    Progress,
    main,
    markdown_table,
    progress_bar,
    step_overrides,
    study_parser,
    write_findings,
)
from cosim.experiments.studies.coordination_figures import (
    COSTS,
    convergence_figure,
    cost_figure,
    gain_figure,
    gap_figure,
    price_figure,
)
from cosim.results.figures.style import style
from cosim.results.folders import refuse_existing
from cosim.scenario.loading import load_scenario, shipped_scenarios
from cosim.scenario.modes import COMPARED
from cosim.scenario.schema import Scenario
from cosim.simulation.runner import RunResult

DEFAULT_SCENARIO = "ieee37_stress"
RULES = ("admm", "bundle", "averaged", "best_response", "anticipating")
MOST_STEPS = 48
_KPIS = (
    *COSTS, "dca_payment_usd", "welfare_gap", "dca_regret_usd", "dso_regret_usd", "rounds_median", "converged_share",
    "slack_mwh", "v_min_pu", "ac_v_min_pu", "mip_gap", "wall_s",
)  # fmt: skip
_REGRETS = ("dca_regret_usd", "dso_regret_usd")
"""Left out of the table where there was no agreement: without a price that both sides answered they say nothing."""


@dataclass(frozen=True)
class Cases:
    """The runs of one scenario: by mode, and by update rule of the negotiation (``admm`` is the default mode's)."""

    scenario: Scenario
    modes: Mapping[str, RunResult]
    rules: Mapping[str, RunResult]
    failures: Mapping[str, str]

    @property
    def named(self) -> dict[str, RunResult]:
        """All runs by the name under which tables list them."""
        extra = {f"decentralized, {rule}": r for rule, r in self.rules.items() if rule != "admm"}
        return {**self.modes, **extra}


def study(
    scenarios: Sequence[str] = (DEFAULT_SCENARIO,),
    overrides: Mapping[str, Any] | None = None,
    rules: Sequence[str] = RULES,
    progress: Progress | None = None,
) -> Findings:
    """Run all modes, and the negotiation with each update rule, on each scenario; see the module for the outcome.

    Args:
        scenarios: shipped names or paths.
        overrides: further keys of all scenarios, dotted.
        rules: update rules to negotiate with; ADMM is always among them, as the default mode's.
        progress: called with (parts done, parts in all, what is being done).

    Raises:
        InputError: a scenario or key that cannot be used.
    """
    cases: dict[str, Cases] = {}
    extra = [r for r in rules if r != "admm"]
    parts = len(scenarios) * (1 + len(extra))
    for i, name in enumerate(scenarios):
        tell = _telling(progress, i * (1 + len(extra)), parts, name)
        cases[name] = _cases(name, dict(overrides or {}), extra, tell)
    tables = {
        "comparison": comparison(cases),
        "strategic_gain": strategic_gain(cases),
        "prices": site_prices(cases),
        "convergence": convergence(cases),
    }
    with style():
        figures = {"cost_by_mode": cost_figure(tables["comparison"]), "welfare_gap": gap_figure(tables["comparison"])}
        if len(tables["strategic_gain"]):
            figures["strategic_gain"] = gain_figure(tables["strategic_gain"])
        for name in cases:
            figures[f"prices_{name}"] = price_figure(tables["prices"], name)
            figures[f"convergence_{name}"] = convergence_figure(tables["convergence"], name)
    return Findings(tables, figures, conclusion(tables, cases))


def _telling(progress: Progress | None, first: int, parts: int, name: str) -> Progress:
    """Progress of one scenario's parts among all: called with (part, parts of it, text)."""
    if progress is None:
        return lambda done, total, text: None
    return lambda done, total, text: progress(first + done, parts, f"{name}: {text}")


def _cases(name: str, overrides: dict[str, Any], extra_rules: Sequence[str], tell: Progress) -> Cases:
    scenario, _ = load_scenario(name, overrides)
    count = 1 + len(extra_rules)
    tell(0, count, "all modes")
    compared = compare(name, modes=COMPARED, overrides=overrides)
    failures = dict(compared.failures)
    rules = {"admm": compared.runs["decentralized"]} if "decentralized" in compared.runs else {}
    for k, rule in enumerate(extra_rules, start=1):
        tell(k, count, rule)
        try:
            rules[rule] = run(name, mode="decentralized", overrides={**overrides, "decentralized.rule": rule})
        except RunFailure as error:
            failures[f"decentralized, {rule}"] = str(error)
    tell(count, count, "done")
    return Cases(scenario, compared.runs, rules, failures)


# -- tables ---------------------------------------------------------------------------------------------------


def comparison(cases: Mapping[str, Cases]) -> pd.DataFrame:
    """One row per scenario and case: costs, their difference to the welfare optimum, and how the run went."""
    rows: list[dict[str, object]] = []
    for name, case in cases.items():
        best = case.modes["welfare"].kpis if "welfare" in case.modes else None
        for label, result in case.named.items():
            kpis = result.kpis
            row: dict[str, object] = {"scenario": name, "case": label, "status": "ok"}
            row |= {k: kpis[k] for k in _KPIS}
            if kpis["converged_share"] != 1.0:
                row |= dict.fromkeys(_REGRETS)
            row["rounds"] = len(result.rounds)
            for key in COSTS:
                row[f"{key}_above_welfare"] = None if best is None else _value(kpis, key) - _value(best, key)
            rows.append(row)
        rows += [{"scenario": name, "case": label, "status": "failed"} for label in case.failures]
    return pd.DataFrame(rows)


def _value(kpis: Mapping[str, float | None], name: str) -> float:
    value = kpis[name]
    return float("nan") if value is None else float(value)


def strategic_gain(cases: Mapping[str, Cases]) -> pd.DataFrame:
    """What the data centers gain by leading against negotiating at supporting prices, and who pays for it (USD).

    The leader may count on the best (optimistic) or the worst (pessimistic) of the operator's optimal prices; both
    come from the certificate. ``gain_limit_usd`` is the most that the proven bound leaves possible.
    """
    rows = []
    for name, case in cases.items():
        if not {"decentralized", "centralized"} <= set(case.modes):
            continue
        taken, led = case.modes["decentralized"].kpis, case.modes["centralized"].kpis
        low, high, passed = certified_payments(case.modes["centralized"].record.certificate or {})
        own = _value(led, "dca_cost_usd") - _value(led, "dca_payment_usd")
        cost = _value(taken, "dca_cost_usd")
        leader = _value(led, "dca_cost_usd")
        bound = leader - _value(led, "mip_gap") * max(1.0, abs(leader))
        net = [_value(k, "dso_cost_usd") - _value(k, "dca_payment_usd") for k in (taken, led)]
        rows.append(
            {
                "scenario": name,
                "negotiated_usd": cost,
                "leader_optimistic_usd": own + low,
                "leader_pessimistic_usd": own + high,
                "leader_bound_usd": bound,
                "gain_optimistic_usd": cost - own - low,
                "gain_pessimistic_usd": cost - own - high,
                "gain_limit_usd": cost - bound,
                "gain_optimistic_pct": 100 * (cost - own - low) / abs(cost),
                "gain_pessimistic_pct": 100 * (cost - own - high) / abs(cost),
                "gain_limit_pct": 100 * (cost - bound) / abs(cost),
                "operator_loss_usd": net[1] - net[0],
                "social_loss_usd": _value(led, "social_cost_usd") - _value(taken, "social_cost_usd"),
                "certificate_passed": passed,
            }
        )
    return pd.DataFrame(rows)


def certified_payments(certificate: Mapping[str, Any]) -> tuple[float, float, bool]:
    """Optimistic and pessimistic payment (USD) of a run's certificate, all windows together, and whether it passed."""
    windows = [certificate] if "passed" in certificate else list(certificate.values())
    low = sum(float(w["payment_optimistic"]) for w in windows)
    high = sum(float(w["payment_pessimistic"]) for w in windows)
    return low, high, bool(windows) and all(w["passed"] for w in windows)


def site_prices(cases: Mapping[str, Cases]) -> pd.DataFrame:
    """Prices at each data center's terminal by mode and step: active, reactive, and what a MWh drawn costs."""
    frames = []
    for name, case in cases.items():
        for mode, result in case.modes.items():
            times = result.steps.set_index("step")["time"]
            for site in case.scenario.datacenters:
                phases = list("abc") if site.connection in ("three_phase", "per_phase") else [site.connection]
                at = result.prices[(result.prices["bus"] == site.bus) & result.prices["phase"].isin(phases)]
                mean = at.groupby("step")[["dlmp_p", "dlmp_q"]].mean().reset_index()
                mean.insert(1, "time", mean["step"].map(times))
                mean["per_mwh_drawn"] = mean["dlmp_p"] + site.reactive_ratio * mean["dlmp_q"]
                labels = {"scenario": name, "mode": mode, "datacenter": site.name, "bus": site.bus}
                for k, (column, value) in enumerate(labels.items()):
                    mean.insert(k, column, value)
                frames.append(mean)
    return pd.concat(frames, ignore_index=True)


def convergence(cases: Mapping[str, Cases]) -> pd.DataFrame:
    """Every round of every negotiation; the operator's cost of the bids also against that of the welfare optimum."""
    frames = []
    for name, case in cases.items():
        best = case.modes["welfare"].kpis["dso_cost_usd"] if "welfare" in case.modes else None
        for rule, result in case.rules.items():
            frame = result.rounds.rename(columns={"step": "window"})
            frame.insert(0, "rule", rule)
            frame.insert(0, "scenario", name)
            frame["dso_cost_above_welfare_usd"] = frame["dso_cost_usd"] - (np.nan if best is None else best)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


# -- conclusion -----------------------------------------------------------------------------------------------


def conclusion(tables: Mapping[str, pd.DataFrame], cases: Mapping[str, Cases]) -> str:
    """What the tables say, in words; every number is taken from them."""
    table, gains = tables["comparison"], tables["strategic_gain"]
    text = ["# Modes of coordination side by side\n"]
    for name, case in cases.items():
        part = table[table["scenario"] == name]
        text.append(f"## {name}\n")
        shown = part[["case", *COSTS, "welfare_gap", "rounds", "slack_mwh", "ac_v_min_pu"]]
        forms = {**dict.fromkeys(COSTS, ",.2f"), "welfare_gap": ".2g", "rounds": ".0f", "slack_mwh": ".3f",
                 "ac_v_min_pu": ".4f"}  # fmt: skip
        text.append(markdown_table(shown, forms))
        text += [f"- {line}" for line in _sentences(part.set_index("case"))]
        for row in gains[gains["scenario"] == name].to_dict("records") if len(gains) else []:
            text.append(_gain_sentence(row))
        text += [f"- {label} failed: {why}" for label, why in case.failures.items()]
        text.append("")
    return "\n".join(text)


def _sentences(part: pd.DataFrame) -> list[str]:
    """Efficiency of the modes, and of the update rules."""
    lines = []
    ok = part[part["status"] == "ok"]
    if "uncoordinated" in ok.index:
        row = ok.loc["uncoordinated"]
        lines.append(
            f"Without coordination social cost is {100 * row['welfare_gap']:.2f} % above the optimum, with "
            f"{row['slack_mwh']:.3f} MWh of broken limits at the price cap."
        )
    if "welfare" in ok.index:
        social = ok["social_cost_usd"].astype(float)
        least, optimum = str(social.idxmin()), float(social["welfare"])
        excess = optimum - float(social.min())
        tied = excess <= 1e-6 * abs(optimum)
        lines.append(
            "No case has a lower social cost than the welfare optimum (to 1e-6)."
            if tied
            else f"The social cost of {least} is {excess:.4f} USD below that of the welfare mode: that should not be."
        )
    for case in ("decentralized", *(c for c in ok.index if c.startswith("decentralized, "))):
        if case not in ok.index:
            continue
        row = ok.loc[case]
        rule = case.partition(", ")[2] or "admm"
        agreed = row["converged_share"] == 1
        line = f"{rule}: {'agreed' if agreed else 'did not agree'} within {_rounds(row['rounds'])}"
        line += f", welfare gap {row['welfare_gap']:.2g}"
        if agreed:
            line += f", regret {row['dca_regret_usd']:.3g} USD of the data centers"
            line += f" and {row['dso_regret_usd']:.3g} USD of the operator"
        lines.append(line + ".")
    return lines


def _rounds(count: float) -> str:
    return f"{count:.0f} round{'' if count == 1 else 's'}"


def _gain_sentence(row: Mapping[Any, Any]) -> str:
    low, high = row["gain_pessimistic_usd"], row["gain_optimistic_usd"]
    interval = f"{_cents(high)} USD whatever the operator's choice of price"
    if abs(high - low) >= 0.005:
        interval = f"{_cents(low)} (pessimistic) to {_cents(high)} USD (optimistic)"
    return (
        f"- Leading instead of taking prices gains the data centers {interval} ({_cents(row['gain_optimistic_pct'])} % "
        f"of their cost; at most {_cents(row['gain_limit_usd'])} USD by the proven bound). The operator's cost less "
        f"what it is paid grows by {_cents(row['operator_loss_usd'])} USD, social cost by "
        f"{_cents(row['social_loss_usd'])} USD. Certificate {'passed' if row['certificate_passed'] else 'FAILED'}."
    )


def _cents(value: float) -> str:
    return "0.00" if abs(value) < 0.005 else f"{value:,.2f}"


def _short() -> list[str]:
    """Shipped scenarios of at most two days; longer ones take hours in all modes and are studied by name."""
    return [name for name in shipped_scenarios() if load_scenario(name)[0].clock.steps <= MOST_STEPS]


def _main() -> int:
    parser = study_parser("Modes of coordination side by side.", "results/coordination")
    parser.add_argument("scenarios", nargs="*", default=[DEFAULT_SCENARIO], help="scenarios by name or path")
    parser.add_argument("--all", action="store_true", help="all shipped scenarios of at most two days")
    parser.add_argument("--time-limit", type=float, default=None, metavar="S", help="of each bilevel solve")
    options = parser.parse_args()
    overrides = step_overrides(options.steps)
    if options.time_limit is not None:
        overrides["centralized.time_limit_s"] = options.time_limit

    def work() -> Path:
        refuse_existing(options.out, force=options.force)
        with progress_bar("coordination") as progress:
            found = study(_short() if options.all else options.scenarios, overrides, progress=progress)
        return write_findings(found, options.out, force=options.force)

    return main(work)


if __name__ == "__main__":
    raise SystemExit(_main())
