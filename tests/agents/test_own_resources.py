"""Kinds of resources of a user's own: by import path, from a folder outside the repository."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import cosim
from cosim.errors import InputError

from .conftest import by_kw

OWN = '''
from cosim.agents.dso.resources import Resource, ResourceSpec, Symbol


class ElectrolyserSpec(ResourceSpec):
    p_max_kw: float
    value_usd_per_mwh: float
    ramp_kw_per_step: float = 1000.0


class Electrolyser(Resource):
    """Draws power where it is cheaper than what it makes is worth, and changes slowly."""

    Spec = ElectrolyserSpec
    kind = "electrolyser"
    symbol = Symbol("electrolyser", "h")

    def __init__(self, spec, site):
        super().__init__(spec, site)
        self.spec, self.last = spec, 0.0

    def state(self, window):
        most = self.spec.p_max_kw / 1000
        p = window.active("p", -most, 0.0)
        window.inject(self.terminals[0], p, None)
        window.cost(window.hours * self.spec.value_usd_per_mwh * p)
        window.within("ramp", p - window.before(p, self.last), self.spec.ramp_kw_per_step / 1000)

    def delivered(self, t, values):
        self.last = values["p"]


class NoResource:
    pass
'''


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder outside the repository, on the search path for modules, with a scenario beside it."""
    (tmp_path / "my_resources.py").write_text(OWN)
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    sys.modules.pop("my_resources", None)


def own_scenario(folder: Path, **keys: object) -> Path:
    path = folder / "mine.yaml"
    entry = {"name": "h2", "kind": "my_resources:Electrolyser", "bus": "718", "p_max_kw": 100,
             "value_usd_per_mwh": 60, "ramp_kw_per_step": 30, **keys}  # fmt: skip
    lines = "\n    ".join(f"{k}: {v!r}" for k, v in entry.items())
    path.write_text(f"base: ieee37\nname: mine\nclock: {{steps: 8, window_steps: 8}}\nresources:\n  - {lines}\n")
    return path


def test_a_kind_of_ones_own_comes_by_import_path(outside: Path) -> None:
    result = cosim.run(own_scenario(outside), mode="welfare", out=outside / "out", figures=False)
    drawn = -by_kw(result, "h2")
    assert np.abs(np.diff(np.concatenate([[0.0], drawn]))).max() <= 30.0 + 1e-3
    assert drawn.max() == pytest.approx(100.0, abs=1e-3)
    units = result.layout.units.set_index("unit")
    assert (units.loc["h2", "label"], units.loc["h2", "marker"]) == ("electrolyser", "h")


def test_validation_imports_no_kind_of_ones_own_unasked(outside: Path) -> None:
    lines = dict(cosim.validate(own_scenario(outside)).lines)
    assert "not imported" in lines["resources.h2.kind"] and "my_resources" not in sys.modules


@pytest.mark.parametrize(
    ("keys", "key", "told"),
    [
        ({"kind": "batery"}, "resources.h2.kind", "battery"),
        ({"kind": "my_resources:NoResource"}, "resources.h2.kind", "no resource"),
        ({"kind": "resource"}, "resources.h2.kind", "no kind of resource"),
        ({"p_mx_kw": 1}, "resources.h2.p_mx_kw", "p_max_kw"),
        ({"p_max_kw": "much"}, "resources.h2.p_max_kw", "number"),
        ({"bus": "nowhere"}, "resources.h2.bus", "no such bus"),
        ({"name": "dg720"}, None, "found twice"),
    ],
)
def test_a_wrong_section_is_refused(outside: Path, keys: dict[str, object], key: str | None, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        cosim.run(own_scenario(outside, **keys))
    assert caught.value.key == key and caught.value.file is not None
