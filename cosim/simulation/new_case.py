"""A scenario folder to start from: a commented scenario on a feeder of one's own that runs as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cosim.errors import InputError
from cosim.files import is_file
from cosim.grid.feeder.connections import terminals_of
from cosim.grid.feeder.feeder import Bus, Feeder
from cosim.grid.feeder.tables import read_feeder
from cosim.results.folders import ResultFolder
from cosim.scenario.inputs.named import InputFiles, NamedInput, files_of
from cosim.scenario.keys import json_schema
from cosim.scenario.schema import Scenario
from cosim.simulation.runner import validate

SCENARIO_FILE, SCHEMA_FILE = "scenario.yaml", "schema.json"
_SHARE = 0.05
"""Demand of the data center at its peak, as a share of the feeder's load."""
_LEAST_KW, _PUE, _IDLE = 5.0, 1.3, 0.3
_MEDIUM_KV = 1.0
_CHOICES = ("three_phase", "ab", "bc", "ca", "a", "b", "c", "12", "1", "2")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_TEXT = """\
# yaml-language-server: $schema={schema}
# What a key means: cosim explain KEY.  Check without running: cosim validate {file}.  Run: cosim run {file}
name: {name}
description: {description}
seed: 1
mode: decentralized          # or uncoordinated, welfare, centralized; all side by side: cosim compare {file}

clock:
  start: "2024-07-15T00:00:00"   # local time; with clock.timezone days have 23 and 25 hours
  step_s: 3600                   # a market step; series finer or coarser than it are resampled
  steps: 24                      # of the horizon
  window_steps: 24               # of the look-ahead that is negotiated at once

network:
{network}
  v_min_pu: 0.95
  v_max_pu: 1.05
  # The base load is multiplied by this series. Of your own: {{file: load.csv, column: scale}}, beside this file.
  load_scale: {{file: profiles/load_residential_commercial, column: scale}}

market:
  # At the source of the feeder. Of your own: {{file: prices.csv, column: usd_per_mwh}}, aligned by its column of time.
  price_usd_per_mwh: {{file: prices/caiso_np15_july_2024_mean_day, column: price_usd_per_mwh}}

# What the operator dispatches: generators, svgs, and resources (battery, flexible_load, pv or a class of your own), as
# generators:
#   - {{name: dg1, bus: {bus}, connection: {connection}, p_max_kw: {kw}, s_kva: {kva}, cost_usd_per_mwh: 35,
#      cost_usd_per_mw2h: 20}}

# Power at the meter is pue * (it_idle_kw + (it_peak_kw - it_idle_kw) * utilisation): at most {share} of the feeder's
# load of {load} kW here. The feeder's buses: cosim feeder show {door}
datacenters:
  - {{name: dc1, bus: {bus}, connection: {connection}, it_peak_kw: {kw}, it_idle_kw: {idle}, pue: {pue},
     power_factor: 0.95}}

# The share of the data centers' capacity that arrives as work, and how long each class of it may wait.
workload:
  utilisation: {{file: workloads/google_cluster_mean_day, column: utilisation, scale: 0.95}}
  classes:
    - {{name: interactive, share: 0.5}}
    - {{name: batch, share: 0.5, max_delay_steps: 8, delay_cost_usd_per_mwh_h: 0.5}}

# An agent of your own is a class in a module beside this file, as agent: "my_agents:MyAggregator"
aggregators:
  - {{name: dca}}
"""


def new_case(out: str | Path, feeder: str) -> list[Path]:
    """Write a scenario folder that runs; it appears when it is complete and has been checked.

    Args:
        out: the folder, which must be new.
        feeder: a shipped feeder by name, a folder of tables, or an OpenDSS script; what is not shipped is copied.

    Returns:
        The files, the scenario first.

    Raises:
        InputError: the folder is there, or nothing can be run on this feeder.
    """
    place = Path(out)
    name = place.resolve().name
    if not _NAME.fullmatch(name):
        raise InputError("not a name for a scenario", key="NAME", value=name,
                         allowed="at most 100 letters, digits, _ . -; the first one a letter, digit or _")  # fmt: skip
    try:
        folder = ResultFolder(place)
    except InputError as error:
        raise error.changed(key="NAME", allowed="a new folder") from None
    with folder:
        kind, found = _found(feeder)
        door = feeder
        if not found.shipped:
            door = _copied(found, kind, folder.path)
        path = folder.path / SCENARIO_FILE
        read = _read(kind, door, folder.path)
        path.write_text(_text(name, kind, door, read), encoding="utf-8")
        schema = json.dumps(json_schema(Scenario), indent=2, ensure_ascii=False) + "\n"
        (folder.path / SCHEMA_FILE).write_text(schema, encoding="utf-8")
        try:
            validate(path)
        except InputError as error:
            told = f"no data center can be run on this feeder: {error.message}"
            raise error.changed(message=told, file=None) from None
        written = [p.relative_to(folder.path) for p in sorted(folder.path.rglob("*")) if p.is_file()]
    written.sort(key=lambda p: p.name != SCENARIO_FILE)
    return [place / p for p in written]


def _found(feeder: str) -> tuple[str, InputFiles]:
    """Which door a feeder comes through, and its files."""
    here = Path.cwd() / SCENARIO_FILE
    if feeder.lower().endswith(".dss"):
        if not is_file(Path(feeder)):
            raise InputError("no such file", key="--feeder", value=feeder, allowed="an OpenDSS script, a folder of "
                             "tables, or the name of a shipped feeder")  # fmt: skip
        from cosim.grid.opendss.importer.script import read_script

        script = Path(feeder).resolve()
        return "dss", InputFiles(script.parent, tuple(dict.fromkeys(read_script(script).files)))
    try:
        return "feeder", files_of(NamedInput("feeder", feeder, "--feeder"), here)
    except InputError as error:
        raise error.changed(key="--feeder", file=None) from None


def _copied(found: InputFiles, kind: str, folder: Path) -> str:
    """Copy a feeder's files into the folder; returns how the scenario names them."""
    inside = folder / found.root.name if found.root.name not in ("", SCENARIO_FILE, SCHEMA_FILE) else folder / "feeder"
    try:
        for file in found.files:
            copy = inside / file.relative_to(found.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    except OSError as error:
        raise InputError(f"the feeder cannot be copied ({error.strerror})", key="--feeder",
                         value=str(found.root)) from None  # fmt: skip
    if kind == "feeder":
        return inside.name
    return f"{inside.name}/{found.files[0].relative_to(found.root).as_posix()}"


def _read(kind: str, door: str, folder: Path) -> Feeder:
    if kind == "feeder":
        return read_feeder(door, folder)
    from cosim.grid.opendss.whole.reader import read_dss

    return read_dss(folder / door, inside=folder)


def _text(name: str, kind: str, door: str, feeder: Feeder) -> str:
    """The scenario's text."""
    bus, connection = _place(feeder)
    load_kw = sum(load.p_kw for load in feeder.loads)
    peak_kw = max(_LEAST_KW, float(f"{_SHARE * load_kw / _PUE:.2g}"))
    named = json.dumps(door)
    if kind == "dss":
        network = f"  dss: {named}             # an OpenDSS circuit itself; its model is ac-linear"
    else:
        network = (
            f"  feeder: {named}             # a folder of tables, or a shipped feeder\n"
            "  model: lindist3flow            # or ac-linear, the tangent of AC power flow"
        )
    return _TEXT.format(
        schema=SCHEMA_FILE, file=SCENARIO_FILE, name=json.dumps(name), network=network, bus=json.dumps(bus), door=named,
        description=json.dumps(f"A data center on {feeder.name}, to start from."), connection=connection,
        kw=f"{peak_kw:g}", kva=f"{1.1 * peak_kw:g}", idle=f"{_IDLE * peak_kw:g}", pue=f"{_PUE:g}",
        load=f"{load_kw:.0f}", share=f"{peak_kw * _PUE / load_kw:.0%}" if load_kw > 0 else "all",
    )  # fmt: skip


def _place(feeder: Feeder) -> tuple[str, str]:
    """A bus for a data center, and its connection: with three phases and medium voltage if there is one, then where
    most load is."""
    load_kw: dict[str, float] = {}
    for load in feeder.loads:
        load_kw[load.bus] = load_kw.get(load.bus, 0.0) + load.p_kw

    def rank(bus: Bus) -> tuple[bool, bool, bool, float]:
        loaded = load_kw.get(bus.name, 0.0)
        return bus.name != feeder.source_bus, len(bus.phases) >= 3, bus.kv_base >= _MEDIUM_KV, loaded

    for bus in sorted(feeder.buses, key=rank, reverse=True):
        for connection in _CHOICES:
            try:
                terminals_of(feeder, bus.name, connection, "datacenters.dc1")
            except InputError:
                continue
            return bus.name, connection
    raise InputError("the feeder has no bus for a data center", key="--feeder", value=feeder.name)
