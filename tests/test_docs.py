"""The documents: their code runs, their commands exist, their scenarios are accepted, the site builds."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cosim.cli.main import app
from cosim.scenario.loading import load_scenario
from cosim.sweep.plan import make_plan

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(p.relative_to(ROOT).as_posix() for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SHELL = ("console", "bash", "")


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


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python") and p != "README.md"])
def test_python_of_a_page_runs_from_its_top_to_its_end(page: str, elsewhere: Path) -> None:
    with_files(page)
    space: dict[str, Any] = {"__name__": "page"}
    for number, text in enumerate(blocks(page, "python")):
        exec(compile(text, f"{page}, block {number}", "exec"), space)


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


def test_a_page_links_only_to_what_is_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8")):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        assert page == "README.md" or page.removeprefix("docs/") in text, page


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
    assert "run_sweep" in page
    for html in (tmp_path / "site").rglob("*.html"):
        text = html.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', text)
        assert fetched == [], f"{html.name} fetches {fetched}"
