"""What is imported when: a run pays for nothing that it does not use."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosim.exports import DEFERRED, DeferredModule, DeferredModules

NOT_FOR_A_RUN = ("matplotlib", "seaborn", "pyscipopt", "distributed", "dask", "gurobipy", "PIL", "jinja2")


def lines_of(program: str) -> list[str]:
    """What a program prints in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def executed(program: str) -> set[str]:
    """Names of the modules that are executed in a program; those only found are left out."""
    shown = 'print(*(n for n, m in sys.modules.items() if "__deferred__" not in getattr(m, "__dict__", ())))'
    return set(lines_of(f"import sys\n{textwrap.dedent(program)}\n{shown}"))


def test_a_run_in_memory_imports_nothing_that_it_does_not_use() -> None:
    found = executed("""
        import cosim
        for mode in ("uncoordinated", "decentralized", "welfare"):
            cosim.run("ieee37", mode=mode, overrides={"clock.steps": 1}).plot
    """)
    assert "numpy" in found and "cosim.agents.dso.operator" in found
    assert found & {*NOT_FOR_A_RUN, *DEFERRED} == set()


def test_a_report_without_figures_imports_nothing_that_draws(tmp_path: Path) -> None:
    found = executed(f"""
        import cosim
        changes = {{"clock.steps": 1}}
        cosim.run("ieee37", mode="uncoordinated", overrides=changes, out={str(tmp_path / "run")!r}, figures=False)
        cosim.compare("ieee37", ["uncoordinated"], overrides=changes, out={str(tmp_path / "modes")!r}, figures=False)
    """)
    assert "cosim.results.report" in found
    assert found & {"matplotlib", "seaborn", "PIL", *DEFERRED} == set()
    assert (tmp_path / "run" / "report.html").is_file() and (tmp_path / "modes" / "report.html").is_file()


def test_importing_cosim_alone_imports_no_library() -> None:
    assert executed("import cosim") & {"numpy", "pandas", "pyomo", "mesa", "pydantic"} == set()


@pytest.fixture
def slow_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package that is deferred: it counts how often it is executed, and looks at itself while it is."""
    package = tmp_path / "deferred_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import sys\n"
        "EXECUTED = globals().get('EXECUTED', 0) + 1\n"
        "missing = hasattr(sys.modules[__name__], 'later')\n"
        "later = 1\n"
    )
    (package / "inner.py").write_text("from deferred_package import later\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("cosim.exports.DEFERRED", ("deferred_package",))
    finder = DeferredModules()
    sys.meta_path.insert(0, finder)
    yield package.name
    sys.meta_path.remove(finder)
    for name in [n for n in sys.modules if n.startswith(package.name)]:
        del sys.modules[name]


def test_a_deferred_module_is_executed_once_and_when_it_is_used(slow_module: str) -> None:
    module = __import__(slow_module)
    assert type(module) is DeferredModule and "EXECUTED" not in vars(module)
    assert (module.EXECUTED, module.later, module.missing) == (1, 1, False)
    assert type(module) is not DeferredModule
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing


def test_importing_a_module_inside_executes_the_deferred_one(slow_module: str) -> None:
    inner = __import__(f"{slow_module}.inner", fromlist=["later"])
    assert inner.later == 1
    assert vars(sys.modules[slow_module])["EXECUTED"] == 1


def test_what_is_deferred_works_when_it_is_used() -> None:
    said = lines_of("""
        import cosim, importlib
        cosim.run
        from scipy import stats
        import scipy.spatial, scipy.integrate, mesa
        print(stats.norm.cdf(0.0), scipy.spatial.ConvexHull([[0, 0], [1, 0], [0, 1]]).volume)
        print(scipy.integrate.quad(lambda x: 2 * x, 0, 1)[0], mesa.space.MultiGrid.__name__)
    """)
    assert said == ["0.5", "0.5", "1.0", "MultiGrid"]
