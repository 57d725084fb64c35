"""Modules beside a scenario, and what the scenario says to the classes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

import cosim
from cosim.scenario.loading import load_scenario
from cosim.scenario.own_code import imported
from cosim.sweep.plan import make_plan

BIDDER = '''
from pydantic import BaseModel, ConfigDict, PositiveFloat

from cosim.agents.dca import DataCenterAggregator
from helpers import {name}


class Bidder(DataCenterAggregator):
    class Parameters(BaseModel):
        model_config = ConfigDict(extra="forbid")
        share: PositiveFloat = 1.0

    def __init__(self, *given, parameters):
        super().__init__(*given)
        self.share = parameters.share

    def notes(self):
        return (f"{{self.name}} of {{{name}}} bids {{self.share:g}}",)
'''
RULE = '''
from pydantic import BaseModel

from cosim.coordination.rules import Posted, Rule
from cosim.protocol.roles import Prices


class Steady(Rule):
    """Posts the price at the source, times a factor."""

    class Parameters(BaseModel):
        factor: float = 1.0

    def first(self, declared_p_mw, first_step):
        return self.next(None)

    def next(self, made):
        price = self.parameters.factor * self.market.operator.opening_price(2)
        return Posted(Prices(price, 0.0 * price))

    def settled(self, clearing, made):
        from dataclasses import replace

        return replace(clearing, prices=self.next(made).prices)
'''
SCENARIO = """
base: ieee37
name: mine
clock: {steps: 2, window_steps: 2}
aggregators: [{name: dca, agent: "bidders:Bidder", parameters: {share: 0.5}}]
decentralized: {rule: best_response, max_rounds: 1}
"""
MEASURE = '''
from cosim.sweep.worker import Outcome


def level(scenario, path):
    return Outcome({"level": scenario.aggregators[0].parameters["share"]})
'''
EXPERIMENT = """
name: shares
scenario: mine.yaml
factors: {aggregators.dca.parameters.share: [0.25, 0.75]}
measure: "measures:level"
"""


def folder(root: Path, name: str) -> Path:
    """A scenario with its modules beside it; ``name`` stands in them."""
    place = root / name
    place.mkdir()
    (place / "bidders.py").write_text(BIDDER.format(name=name.upper()))
    (place / "helpers.py").write_text(f"{name.upper()} = {name!r}\n")
    (place / "measures.py").write_text(MEASURE)
    (place / "mine.yaml").write_text(SCENARIO)
    (place / "shares.yaml").write_text(EXPERIMENT)
    return place


def test_a_module_beside_the_scenario_is_found(tmp_path: Path) -> None:
    assert "dca of one bids 0.5" in cosim.run(folder(tmp_path, "one") / "mine.yaml").notes


def test_namesakes_beside_two_scenarios_are_two(tmp_path: Path) -> None:
    places = [folder(tmp_path, name) for name in ("this", "that", "other")]
    told = [cosim.run(places[i] / "mine.yaml").notes for i in (0, 1, 0)]
    assert [next(note for note in notes if note.startswith("dca of")) for notes in told] == [
        f"dca of {name} bids 0.5" for name in ("this", "that", "this")
    ]


def test_a_module_with_the_name_of_a_loaded_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("def thing(): ...\n")
    with pytest.raises(cosim.InputError, match="a module json is loaded already"):
        imported("json:thing", "operator.agent", beside=tmp_path / "mine.yaml")


def test_a_module_beside_is_not_imported_by_validation(tmp_path: Path) -> None:
    place = folder(tmp_path, "mere")
    (place / "bidders.py").write_text("raise SystemExit('run')\n")
    assert "not imported" in dict(cosim.validate(place / "mine.yaml").lines)["aggregators.dca.agent"]


@pytest.mark.parametrize(
    ("given", "key"),
    [("share: -1", "aggregators.dca.parameters.share"), ("shares: 1", "aggregators.dca.parameters.shares")],
)
def test_parameters_are_checked_by_the_class_itself(given: str, key: str, tmp_path: Path) -> None:
    place = folder(tmp_path, "checked")
    (place / "mine.yaml").write_text(SCENARIO.replace("share: 0.5", given))
    with pytest.raises(cosim.InputError) as caught:
        cosim.run(place / "mine.yaml")
    assert caught.value.key == key


def test_a_class_without_a_model_takes_no_parameters() -> None:
    with pytest.raises(cosim.InputError, match="takes no parameters") as caught:
        cosim.run("ieee37", overrides={"operator.parameters": {"share": 1}, "clock.steps": 1})
    assert caught.value.key == "operator.parameters"


def test_a_shipped_rule_takes_no_parameters() -> None:
    with pytest.raises(cosim.InputError, match="takes no parameters") as caught:
        cosim.run("ieee37", overrides={"decentralized.parameters": {"share": 1}, "clock.steps": 1})
    assert caught.value.key == "decentralized.parameters"


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_rule_is_told_its_parameters(factor: float, tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(RULE)
    (tmp_path / "mine.yaml").write_text(
        "base: ieee37\nname: mine\nclock: {steps: 2, window_steps: 2}\n"
        f"decentralized: {{rule: 'rules:Steady', max_rounds: 1, parameters: {{factor: {factor}}}}}\n"
    )
    found = cosim.run(tmp_path / "mine.yaml")
    source = found.steps.set_index("step")["price_sub_usd_per_mwh"] * found.demand.groupby("step")["p_kw"].sum() / 1000
    assert found.steps["dca_payment_usd"].to_numpy() == _near(factor * source.to_numpy())


def _near(values: object) -> object:
    return pytest.approx(values, rel=1e-6)


def test_a_sweep_finds_what_lies_beside_its_files_in_every_process(tmp_path: Path) -> None:
    place = folder(tmp_path, "swept")
    found = cosim.run_sweep(place / "shares.yaml", tmp_path / "out", workers=1, analyse=False)
    assert sorted(found.runs["level"]) == [0.25, 0.75]


def test_a_run_is_another_one_if_a_module_beside_it_changes(tmp_path: Path) -> None:
    place = folder(tmp_path, "keyed")
    before = [run.key for run in make_plan(place / "shares.yaml").runs]
    (place / "bidders.py").write_text(BIDDER.format(name="KEYED") + "\n# changed\n")
    assert not set(before) & {run.key for run in make_plan(place / "shares.yaml").runs}


HEATER = '''
from pydantic import BaseModel, ConfigDict, PositiveFloat

from cosim.agents.dso.resources import Resource, ResourceSpec, Symbol


class HeaterSpec(ResourceSpec):
    p_kw: float


class Heater(Resource):
    """Draws a share of its power in every step."""

    Spec = HeaterSpec
    kind = "heater"
    symbol = Symbol("heater", "h")

    class Parameters(BaseModel):
        model_config = ConfigDict(extra="forbid")
        share: PositiveFloat = 1.0

    def __init__(self, spec, site, parameters):
        super().__init__(spec, site)
        self.p_mw = parameters.share * spec.p_kw / 1000

    def state(self, window):
        window.inject(self.terminals[0], window.active("p", -self.p_mw, -self.p_mw), None)
'''


def with_heater(place: Path, parameters: str) -> Path:
    """A scenario with a resource of its own, beside its module; returns its file."""
    (place / "heaters.py").write_text(HEATER)
    (place / "mine.yaml").write_text(
        "base: ieee37\nname: mine\nmode: uncoordinated\nclock: {steps: 1, window_steps: 1}\n"
        f"resources: [{{name: h1, kind: 'heaters:Heater', bus: '740', p_kw: 40{parameters}}}]\n"
    )
    return place / "mine.yaml"


def test_a_resource_is_told_its_parameters(tmp_path: Path) -> None:
    path = with_heater(tmp_path, ", parameters: {share: 0.25}")
    found = cosim.run(path)
    assert found.dispatch.query("unit == 'h1'")["p_kw"].sum() == pytest.approx(-10.0)


@pytest.mark.parametrize(("given", "key"), [("share: -1", "share"), ("shares: 1", "shares")])
def test_parameters_of_a_resource_are_checked_by_its_class(given: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(cosim.InputError) as caught:
        cosim.run(with_heater(tmp_path, f", parameters: {{{given}}}"))
    assert caught.value.key == f"resources.h1.parameters.{key}"


def test_a_kind_without_a_model_takes_no_parameters() -> None:
    battery = {"name": "b1", "kind": "battery", "bus": "740", "energy_kwh": 4, "power_kw": 2, "s_kva": 3}
    with pytest.raises(cosim.InputError, match="takes no parameters") as caught:
        cosim.run("ieee37", overrides={"clock.steps": 1, "resources": [{**battery, "parameters": {"share": 1}}]})
    assert caught.value.key == "resources.b1.parameters"


def test_parameters_of_a_resource_are_a_factor_of_a_sweep(tmp_path: Path) -> None:
    with_heater(tmp_path, "")
    (tmp_path / "sweep.yaml").write_text(
        "name: shares\nscenario: mine.yaml\nfactors: {resources.h1.parameters.share: [0.25, 0.75]}\n"
    )
    runs = make_plan(tmp_path / "sweep.yaml").runs
    assert [run.scenario["resources"][0]["parameters"] for run in runs] == [{"share": 0.25}, {"share": 0.75}]


def test_a_resource_without_parameters_is_written_without_them(tmp_path: Path) -> None:
    scenario, _ = load_scenario(with_heater(tmp_path, ""))
    assert "parameters" not in scenario.model_dump(mode="json")["resources"][0]
