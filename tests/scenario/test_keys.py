"""Descriptions of keys, JSON Schema and the reference page, against the schema itself."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from cosim.cli import keys as commands
from cosim.cli.main import app
from cosim.errors import InputError
from cosim.scenario.keys import descriptions, explained, json_schema, keys_of, reference
from cosim.scenario.loading import load_scenario, shipped_scenarios
from cosim.scenario.schema import Scenario
from cosim.sweep.experiment import Experiment, shipped_experiments

ROOT = Path(__file__).parents[2]
MODELS: dict[str, type[BaseModel]] = {"scenario": Scenario, "experiment": Experiment}
AGAIN = "made by cosim schema and python -m cosim.cli.keys"


def test_every_key_is_described_and_nothing_else() -> None:
    known = {(k.section, k.path.rpartition(".")[2].removesuffix("[]")) for m in MODELS.values() for k in keys_of(m)}
    assert known == set(descriptions())


@pytest.mark.parametrize("row", sorted(descriptions()))
def test_an_example_is_what_its_key_takes(row: tuple[str, str]) -> None:
    """Examples are YAML that the field's own annotation accepts, as far as it stands alone."""
    section, key = row
    model = _section(section)
    text = descriptions()[row][1]
    assert text
    value = yaml.safe_load(text)
    field = model.model_fields[key]
    from pydantic import TypeAdapter

    TypeAdapter(field.annotation).validate_python(value)


def _section(name: str) -> type[BaseModel]:
    found: dict[str, type[BaseModel]] = {}

    def walk(model: type[BaseModel]) -> None:
        from cosim.scenario.loading import section_in

        found[model.__name__] = model
        for field in model.model_fields.values():
            inner = section_in(field.annotation)
            if inner is not None and inner.__name__ not in found:
                walk(inner)

    for model in MODELS.values():
        walk(model)
    return found[name]


@pytest.mark.parametrize("what", MODELS)
def test_the_committed_schema_is_the_present_one(what: str) -> None:
    committed = json.loads((ROOT / f"{what}s" / "schema.json").read_text())
    assert committed == json.loads(json.dumps(json_schema(MODELS[what]))), AGAIN


def test_the_reference_page_is_the_present_one() -> None:
    assert (ROOT / "docs" / "keys.md").read_text() == commands.page(), AGAIN


def test_what_pages_of_results_say_of_keys_is_the_present_state() -> None:
    kept = ROOT / "cosim" / "results" / "pages" / "keys.json"
    assert kept.read_text(encoding="utf-8") == commands.reference(), AGAIN


@pytest.mark.parametrize("what", MODELS)
def test_every_key_has_one_row_with_all_its_places(what: str) -> None:
    rows = [row for row in reference(MODELS) if row["file"] == what]
    assert sorted(path for row in rows for path in row["paths"]) == sorted(k.path for k in keys_of(MODELS[what]))


def _shipped(what: str) -> dict[str, Any]:
    names = shipped_scenarios() if what == "scenario" else shipped_experiments()
    folder = resources.files(f"cosim.{what}s")
    return {name: (folder / f"{name}.yaml").read_text(encoding="utf-8") for name in names}


@pytest.mark.parametrize("what", MODELS)
def test_shipped_files_fit_the_schema(what: str) -> None:
    checker = jsonschema.Draft202012Validator(json_schema(MODELS[what]))
    for name, text in _shipped(what).items():
        assert not [f"{name}: {e.message}" for e in checker.iter_errors(yaml.safe_load(text))]


@pytest.mark.parametrize("what", MODELS)
def test_shipped_files_name_their_schema(what: str) -> None:
    for text in _shipped(what).values():
        assert text.startswith("# yaml-language-server: $schema=schema.json\n")


def test_an_effective_scenario_fits_the_schema() -> None:
    data = load_scenario("two_feeders")[0].model_dump(mode="json")
    jsonschema.Draft202012Validator(json_schema(Scenario)).validate(data)


def test_a_wrong_value_does_not_fit_the_schema() -> None:
    checker = jsonschema.Draft202012Validator(json_schema(Scenario))
    assert not checker.is_valid({"name": "mine", "clock": {"market": "hourly"}})
    assert not checker.is_valid({"name": "mine", "clokc": {}})


def test_a_key_is_found_by_its_end() -> None:
    assert {k.path for _, k in explained(MODELS, "pue")} == {"datacenters[].pue"}


def test_a_wrong_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'network.v_min_pu'"):
        explained(MODELS, "network.v_mni_pu")


def test_explain_says_unit_default_and_range() -> None:
    said = CliRunner().invoke(app, ["explain", "network.v_max_pu"])
    assert said.exit_code == 0
    for words in ("per unit", "1.05", "at most 2", "highest voltage"):
        assert words in said.stdout


def test_a_wrong_key_ends_with_code_2() -> None:
    assert CliRunner().invoke(app, ["explain", "nothing.like.it"]).exit_code == 2


def test_schema_writes_the_file_it_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["schema", "experiment", "--out", str(tmp_path / "e.json")])
    assert done.exit_code == 0 and "factors" in json.loads((tmp_path / "e.json").read_text())["properties"]
