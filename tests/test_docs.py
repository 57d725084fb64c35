"""The documents: their code runs, their commands exist, their scenarios are accepted, the site builds."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from cosim.cli.main import app
from cosim.protocol.messages import Award, Bid, Message, PricePosting
from cosim.scenario.loading import load_scenario
from cosim.sweep.plan import make_plan
from cosim.testing import aggregator, resource, rule

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(p.relative_to(ROOT).as_posix() for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SHELL = ("console", "bash", "")
WORKED = "docs/bring-your-own.md"


def blocks(page: str, *languages: str) -> list[str]:
    """Fenced blocks of a page in one of these languages, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
    return [text for language, text in found if language in languages]


def commands(page: str) -> list[list[str]]:
    """The cosim commands of a page, comments taken off."""
    lines = "".join(blocks(page, *SHELL)).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("cosim ")]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, in which a page's own modules can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("my_"):
            del sys.modules[name]


def with_files(page: str) -> None:
    """What a page has its reader write before its Python runs: scenarios and experiments named mine."""
    for text in blocks(page, "yaml"):
        data = yaml.safe_load(text)
        if isinstance(data, dict) and data.get("name") == "mine":
            Path("mine.yaml").write_text(text)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python") and p not in ("README.md", WORKED)])
def test_python_of_a_page_runs_from_its_top_to_its_end(page: str, elsewhere: Path) -> None:
    with_files(page)
    space: dict[str, Any] = {"__name__": "page"}
    for number, text in enumerate(blocks(page, "python")):
        exec(compile(text, f"{page}, block {number}", "exec"), space)


def test_the_worked_cases_run_from_top_to_end(elsewhere: Path) -> None:
    """Files that are named before their blocks are written; then Python and commands run, those refused that say so."""
    text = (ROOT / WORKED).read_text(encoding="utf-8")
    for name, content in re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", text, re.M | re.S):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content)
    space: dict[str, Any] = {"__name__": "page"}
    for language, block in re.findall(r"^```(python|console)\n(.*?)^```$", text, re.M | re.S):
        if language == "python":
            exec(compile(block, WORKED, "exec"), space)
            continue
        for line in block.splitlines():
            done = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
            assert done.exit_code == (2 if "# refused" in line else 0), f"{line}\n{done.output}"
    assert Path("results/town/inputs/net/Master.dss").is_file()


@pytest.mark.slow
def test_python_of_the_readme_runs(elsewhere: Path) -> None:
    for text in blocks("README.md", "python"):
        exec(compile(text, "README.md", "exec"), {"__name__": "page"})


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)])
def test_commands_of_a_page_exist_with_their_options(page: str) -> None:
    top = typer.main.get_command(app)
    for arguments in commands(page):
        context, command = typer.Context(top, info_name="cosim"), top
        rest = arguments
        while hasattr(command, "resolve_command"):
            _, command, rest = command.resolve_command(context, rest)
            context = typer.Context(command, parent=context)
        command.make_context(arguments[0], list(rest))


def test_scenarios_and_experiments_of_the_pages_are_accepted(elsewhere: Path) -> None:
    Path("my_prices.csv").write_text("usd_per_mwh\n" + "40\n" * 24)
    seen = 0
    for page in PAGES:
        for text in blocks(page, "yaml"):
            data = yaml.safe_load(text)
            Path("block.yaml").write_text(text)
            if "factors" in data:
                assert make_plan("block.yaml").runs, page
                seen += 1
            elif "base" in data:
                load_scenario("block.yaml")
                seen += 1
    assert seen >= 3


@pytest.mark.parametrize("kind", [PricePosting, Bid, Award])
def test_every_field_of_a_message_is_documented(kind: type[Message]) -> None:
    text = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    section = text.split("Every message carries")[1].split("\n**")
    own = next(part for part in section if part.startswith(f"{kind.__name__}**"))
    told = {name for part in (section[0], own) for name in re.findall(r"`(\w+)`", part)}
    assert {field.name for field in fields(kind)} <= told


def test_every_check_of_own_parts_is_documented() -> None:
    text = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    for module in (aggregator, resource, rule):
        for name, demand in module.CHECKS.items():
            assert re.search(rf"^\| `{name}` \| [a-z, ]+ \| {re.escape(demand)} \|$", text, re.M), name


def test_a_page_links_only_to_what_is_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8")):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        assert page == "README.md" or page.removeprefix("docs/") in text, page


def public_dataclasses() -> list[Any]:
    """The dataclasses that the page of the API has: those it lists, or all of a module whose names it does not list."""
    found = []
    for name, options in re.findall(r"^::: ([\w.]+)\n((?:    .*\n)*)", (ROOT / "docs" / "api.md").read_text(), re.M):
        place = name if name.startswith("cosim.") else f"cosim.{name}"
        module, _, last = place.rpartition(".")
        owner = getattr(import_module(module), last, None)
        whole = owner is None or isinstance(owner, ModuleType)
        kinds = [*vars(import_module(place)).values()] if whole else [owner]
        members = re.search(r"members: \[(.*)\]", options)
        listed = None if members is None else members[1].split(", ")
        found += [k for k in kinds if isinstance(k, type) and is_dataclass(k) and k.__module__ in (place, module)
                  and k.__name__[0] != "_" and (listed is None or k.__name__ in listed)]  # fmt: skip
    return found


def test_the_api_has_what_runs_and_sweeps_return() -> None:
    names = {kind.__name__ for kind in public_dataclasses()}
    assert {"RunResult", "Comparison", "Rerun", "Record", "PricePosting", "Bid", "TerminalLoad", "Manifest"} <= names


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
    assert "run_sweep" in page
    for kind in public_dataclasses():
        missing = [field.name for field in fields(kind) if field.name[0] != "_" and field.name not in page]
        assert missing == [], f"{kind.__name__}: {missing}"
    for html in (tmp_path / "site").rglob("*.html"):
        text = html.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', text)
        assert fetched == [], f"{html.name} fetches {fetched}"
