"""What an OpenDSS script builds and solves, as plain data: elements, bus bases, coordinates, node voltages."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import opendssdirect

from cosim.errors import InputError
from cosim.grid.opendss.context import new_context
from cosim.grid.opendss.importer.numbers import check_numbers
from cosim.grid.opendss.importer.script import LeftOut, Script, read_script

Properties = Mapping[str, Any]
FULL = 1
"""Flag of OpenDSS's JSON export: every property, not only those that were set."""
ITERATIONS = 100
TOLERANCE_PU = 1e-9
MESSAGE = 600
"""Characters of OpenDSS's own message in ours."""
GENERAL = frozenset(
    "linecode loadshape tshape priceshape xycurve growthshape tcc_curve spectrum wiredata cndata tsdata linespacing "
    "linegeometry xfmrcode dynamicexp".split()
)
"""Classes of OpenDSS that describe something and are no part of the circuit."""
_TEXT_OR_NO_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*"|[+-]?(?:nan|inf(?:inity)?)\b', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RawCircuit:
    """A solved OpenDSS circuit.

    Attributes:
        name: of the circuit. file: the script.
        elements: properties by class and name, all in lower case, in the order of the script.
        open_conductors: conductors (from 1) that are open at an end, by ``class.name``.
        kv: nominal voltage to neutral of each bus, kV; 0 where unknown. xy: coordinates where given.
        volts: solved voltage of each node, by (bus, node), V.
        powers: kW + j kvar delivered by generators, PV systems and storage, by ``class.name``.
        frequency_hz: of the solution. load_scale: factor on all loads.
        left_out: what of the script was not given to OpenDSS.
    """

    name: str
    file: Path
    elements: Mapping[str, Mapping[str, Properties]]
    open_conductors: Mapping[str, frozenset[int]]
    kv: Mapping[str, float]
    xy: Mapping[str, tuple[float, float]]
    volts: Mapping[tuple[str, int], complex]
    powers: Mapping[str, complex]
    frequency_hz: float
    load_scale: float
    left_out: tuple[LeftOut, ...] = ()

    def of(self, kind: str) -> Mapping[str, Properties]:
        """Elements of one class by name."""
        return self.elements.get(kind, {})


def read_circuit(file: str | Path, inside: str | Path | None = None) -> RawCircuit:
    """Read an OpenDSS script, build its circuit in a context of its own and read it, solved.

    A script that does not solve is solved here, controls included, so that taps and capacitors stand as solved.

    Args:
        file: the script.
        inside: the folder in which all files lie that it reads; its own by default.

    Raises:
        InputError: no such file, a script that is refused
            (see :func:`cosim.grid.opendss.importer.script.read_script`) or wrong, no
            circuit, or a circuit without a solution.
    """
    dss, script = open_circuit(file, inside)
    return replace(read_solved(dss, Path(file).resolve()), left_out=script.left_out)


def open_circuit(file: str | Path, inside: str | Path | None = None) -> tuple[Any, Script]:
    """The OpenDSS context of a script's circuit, solved, and the script; errors as :func:`read_circuit`."""
    path = Path(file).resolve()
    if not path.is_file():
        raise InputError("no such file", file=path, key="FILE", value=str(file), allowed="an OpenDSS script")
    script = read_script(path, None if inside is None else Path(inside))
    dss = new_context()
    _build(dss, script)
    try:
        if dss.Basic.NumCircuits() == 0 or dss.Circuit.NumBuses() == 0:
            raise InputError("the script builds no circuit", file=path, key="FILE", allowed="new circuit.NAME ...")
        _solve(dss, path)
    except opendssdirect.DSSException as error:
        raise _stopped(error, path, "FILE") from None
    return dss, script


def _build(dss: Any, script: Script) -> None:
    """Give a script's commands to OpenDSS.

    Raises:
        InputError: one that OpenDSS does not take, by its place in the script.
    """
    for command in script.commands:
        try:
            dss.Text.Command(command.text)
        except opendssdirect.DSSException as error:
            raise _stopped(error, command.file, f"line {command.line}") from None


def _stopped(error: Exception, file: Path, key: str) -> InputError:
    text = " ".join(str(error).split())
    return InputError(f"OpenDSS stopped: {text[:MESSAGE]}", file=file, key=key, allowed="a script that OpenDSS can run")


def _solve(dss: Any, path: Path) -> None:
    if dss.Solution.Iterations() == 0 or not dss.Solution.Converged():
        dss.Solution.MaxIterations(ITERATIONS)
        dss.Solution.MaxControlIterations(ITERATIONS)
        dss.Solution.Solve()
    if dss.Solution.Converged():
        # Once more with everything where the controls left it: OpenDSS stops at 1e-4 pu unless told otherwise.
        dss.Text.Command("set controlmode=off")
        dss.Solution.MaxIterations(ITERATIONS)
        dss.Solution.Convergence(TOLERANCE_PU)
        dss.Solution.Solve()
    if not dss.Solution.Converged():
        raise InputError(
            "the circuit has no solution in OpenDSS", file=path, key="FILE", allowed="a circuit that converges"
        )


def read_solved(dss: Any, path: Path) -> RawCircuit:
    """What a solved context holds."""
    elements: dict[str, dict[str, Properties]] = {}
    for kind in dss.Basic.Classes():
        name = kind.lower()
        dss.Circuit.SetActiveClass(kind)
        if name not in GENERAL and dss.ActiveClass.Count() > 0:
            found = properties(dss.ActiveClass.ToJSON(FULL))
            elements[name] = {e["Name"].lower(): e for e in found}
    _complete_lines(dss, elements.get("line", {}))
    check_numbers(elements, path)
    kv, xy = {}, {}
    for k, bus in enumerate(dss.Circuit.AllBusNames()):
        dss.Circuit.SetActiveBusi(k)
        kv[bus.lower()] = float(dss.Bus.kVBase())
        if dss.Bus.Coorddefined():
            xy[bus.lower()] = (float(dss.Bus.X()), float(dss.Bus.Y()))
    numbers = dss.Circuit.AllBusVolts()
    volts = {}
    for k, node in enumerate(dss.Circuit.AllNodeNames()):
        bus, _, number = node.lower().rpartition(".")
        volts[bus, int(number)] = complex(numbers[2 * k], numbers[2 * k + 1])
    powers = {}
    for kind in ("generator", "pvsystem", "storage"):
        for name in elements.get(kind, {}):
            dss.Circuit.SetActiveElement(f"{kind}.{name}")
            drawn = dss.CktElement.Powers()
            powers[f"{kind}.{name}"] = -complex(sum(drawn[0::2]), sum(drawn[1::2]))
    return RawCircuit(
        name=str(dss.Circuit.Name()).lower(), file=path, elements=elements,
        open_conductors=_open_conductors(dss), kv=kv, xy=xy, volts=volts, powers=powers,
        frequency_hz=float(dss.Solution.Frequency()), load_scale=float(dss.Solution.LoadMult()),
    )  # fmt: skip


def properties(text: str) -> list[dict[str, Any]]:
    """Elements of one class from OpenDSS's JSON export.

    The export writes a matrix that an element was never given (a capacitor's, say) from memory that nobody set, and
    then any bit pattern may stand there, also what is no number and no JSON. Such an entry is read as NaN, which no
    table takes.
    """
    found: list[dict[str, Any]]
    try:
        found = json.loads(text, parse_constant=lambda _: math.nan)
    except json.JSONDecodeError:
        # Seldom; looking through the text takes several times as long as reading it.
        plain = _TEXT_OR_NO_NUMBER.sub(lambda m: m[0] if m[0].startswith('"') else "NaN", text)
        found = json.loads(plain)
    return found


def _complete_lines(dss: Any, lines: dict[str, Properties]) -> None:
    """Matrices of lines that are given by geometry, which the export leaves out."""
    for name, line in lines.items():
        if line["RMatrix"] is None or line["CMatrix"] is None or line["XMatrix"] is None:
            dss.Lines.Name(name)
            n = int(line["Phases"])
            matrices = {}
            for key, numbers in (
                ("RMatrix", dss.Lines.RMatrix()), ("XMatrix", dss.Lines.XMatrix()), ("CMatrix", dss.Lines.CMatrix()),
            ):  # fmt: skip
                matrices[key] = [list(numbers[n * i : n * i + n]) for i in range(n)]
            lines[name] = {**line, **matrices}


def _open_conductors(dss: Any) -> dict[str, frozenset[int]]:
    """Open conductors of lines and transformers; only the few that are open at all are looked at closely."""
    found = {}
    for kind, family in (("line", dss.Lines), ("transformer", dss.Transformers)):
        more = family.First()
        while more:
            ends = range(1, dss.CktElement.NumTerminals() + 1)
            if any(dss.CktElement.IsOpen(end, 0) for end in ends):
                conductors = range(1, dss.CktElement.NumPhases() + 1)
                found[f"{kind}.{family.Name().lower()}"] = frozenset(
                    c for c in conductors if any(dss.CktElement.IsOpen(end, c) for end in ends)
                )
            more = family.Next()
    return found
