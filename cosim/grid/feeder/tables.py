"""Feeder <-> the CSV tables of a feeder folder.

A folder holds ``feeder.csv`` (key, value, source), ``buses.csv``, ``lines.csv``, ``line_codes.csv``,
``transformers.csv``, ``regulators.csv`` (one row per unit), ``capacitors.csv``, ``loads.csv``, ``generators.csv``,
``regulator_controls.csv`` and ``capacitor_controls.csv``. Every table has a ``source`` column. Tables of elements that
a feeder does not have may be absent, and so may the columns of ``EXTRA``, where every row has the default.
"""

from __future__ import annotations

import csv
import importlib.resources
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cosim.errors import InputError, did_you_mean
from cosim.files import TABLE_BYTES, is_file, is_folder, read_text
from cosim.grid.feeder.check import check_feeder
from cosim.grid.feeder.controls import CapacitorControl, RegulatorControl
from cosim.grid.feeder.feeder import (
    Bus,
    Capacitor,
    Feeder,
    Generator,
    Line,
    LineCode,
    Load,
    Matrix,
    Regulator,
    Transformer,
)

TRIANGLE = ("aa", "ab", "ac", "bb", "bc", "cc")
FEEDER_KEYS = ("name", "source_bus", "source_kv", "source_pu")
CONTROLS = ("regulator_controls", "capacitor_controls")
COLUMNS: dict[str, tuple[str, ...]] = {
    "feeder": ("key", "value", "source"),
    "buses": ("name", "kv_base", "phases", "grounded", "x", "y", "source"),
    "lines": ("name", "from_bus", "to_bus", "phases", "length_ft", "code", "source"),
    "line_codes": (
        "name",
        *(f"r_{t}_ohm_per_mile" for t in TRIANGLE),
        *(f"x_{t}_ohm_per_mile" for t in TRIANGLE),
        *(f"b_{t}_us_per_mile" for t in TRIANGLE),
        "source",
    ),
    "transformers": (
        "name", "from_bus", "to_bus", "kva", "kv_high", "conn_high", "kv_low", "conn_low", "r_percent",
        "x_percent", "source",
    ),
    "regulators": ("name", "from_bus", "to_bus", "connection", "unit", "tap", "source"),
    "capacitors": ("name", "bus", "connection", "phases", "kvar", "source"),
    "loads": ("name", "bus", "connection", "phases", "model", "p_kw", "q_kvar", "source"),
    "generators": ("name", "bus", "connection", "phases", "kind", "p_kw", "q_kvar", "source"),
    "regulator_controls": (
        "name", "regulator", "units", "vreg_v", "band_v", "pt_ratio", "ct_primary_a", "r_v", "x_v", "delay_s", "source",
    ),
    "capacitor_controls": (
        "name", "capacitors", "kind", "element", "terminal", "phases", "on_setting", "off_setting", "delay_s", "source",
    ),
}  # fmt: skip
EXTRA: dict[str, dict[str, object]] = {
    "buses": {"v_min_pu": None, "v_max_pu": None},
    "transformers": {
        "phases_high": "abc", "phases_low": "abc", "no_load_percent": 0.0, "magnetizing_percent": 0.0,
        "r_low_percent": 0.0, "x_low_percent": 0.0, "core_side": "low",
    },
    "lines": {"amps": None},
    "regulators": {"kva": None, "r_percent": 0.0, "x_percent": 0.0},
    "capacitors": {"steps": 1, "steps_on": 1},
    "loads": {"v_min_pu": None, "v_max_pu": None, "exponent_p": None, "exponent_q": None},
    "regulator_controls": {
        "tap_delay_s": 2.0, "max_tap_change": 16, "tap_min": -16, "tap_max": 16, "v_limit_v": 0.0, "phase": "",
        "bus": "", "remote_pt_ratio": None,
    },
    "capacitor_controls": {
        "delay_off_s": 15.0, "dead_time_s": 300.0, "pt_ratio": 60.0, "ct_ratio": 60.0, "pt_phase": "", "ct_phase": "",
        "v_min_v": None, "v_max_v": None,
    },
}  # fmt: skip
"""Columns that may be absent, with what their absence means."""
PLAIN = ("buses", "lines", "transformers", "capacitors", "loads", "generators", *CONTROLS)
"""Tables whose rows are elements as they are."""
OPTIONAL = (
    "lines", "line_codes", "transformers", "regulators", "capacitors", "loads", "generators", *CONTROLS,
)  # fmt: skip

Row = Mapping[str, str]
T = TypeVar("T")


def shipped_feeders() -> tuple[str, ...]:
    """Names of the feeders that come with the package."""
    root = importlib.resources.files("cosim.data") / "feeders"
    return tuple(sorted(f.name for f in root.iterdir() if (f / "feeder.csv").is_file()))


def read_feeder(path_or_name: str | Path, base_dir: Path | None = None) -> Feeder:
    """Read and check a feeder.

    Args:
        path_or_name: a folder of tables, or the name of a shipped feeder.
        base_dir: folder that a relative path starts from.

    Raises:
        InputError: no such feeder, a table that cannot be read, or data that fail :func:`check_feeder`.
    """
    folder = feeder_folder(path_or_name, base_dir)
    feeder = _feeder_of(folder)
    check_feeder(feeder, folder)
    return feeder


def feeder_folder(path_or_name: str | Path, base_dir: Path | None = None) -> Path:
    """The folder of a feeder's tables, there or shipped; see :func:`read_feeder`."""
    folder = (base_dir or Path()) / path_or_name
    if is_folder(folder):
        return folder
    names = shipped_feeders()
    if str(path_or_name) not in names:
        raise InputError(
            f"no such feeder{did_you_mean(path_or_name, names)}", key="feeder", value=str(path_or_name),
            allowed=f"a folder of tables, or one of {', '.join(names)}",
        )  # fmt: skip
    return Path(str(importlib.resources.files("cosim.data"))) / "feeders" / str(path_or_name)


def _feeder_of(folder: Path) -> Feeder:
    notes: dict[str, tuple[str, str]] = {}
    file = folder / "feeder.csv"
    for row in _rows(folder, "feeder"):
        if row["key"] in notes:
            raise InputError(
                "the key appears twice", file=file, key=row["key"], value=row["value"], allowed="one row"
            )
        notes[row["key"]] = (row["value"], row["source"])
    for key in FEEDER_KEYS:
        if key not in notes:
            raise InputError("a key is missing", file=file, key=key, allowed=", ".join(FEEDER_KEYS))
    head = {key: notes[key][0] for key in FEEDER_KEYS}
    notes = {k: note for k, note in notes.items() if k not in head or note[1]}
    return Feeder(
        name=head["name"],
        source_bus=head["source_bus"],
        source_kv=_number(head["source_kv"], file, "source_kv"),
        source_pu=_number(head["source_pu"], file, "source_pu"),
        buses=_elements(folder, "buses", Bus),
        lines=_elements(folder, "lines", Line),
        line_codes=tuple(_line_code(row, folder / "line_codes.csv") for row in _rows(folder, "line_codes")),
        transformers=_elements(folder, "transformers", Transformer),
        regulators=_regulators(folder),
        capacitors=_elements(folder, "capacitors", Capacitor),
        loads=_elements(folder, "loads", Load),
        generators=_elements(folder, "generators", Generator),
        notes=notes,
        regulator_controls=_elements(folder, "regulator_controls", RegulatorControl),
        capacitor_controls=_elements(folder, "capacitor_controls", CapacitorControl),
    )


def _rows(folder: Path, table: str) -> list[dict[str, str]]:
    file = folder / f"{table}.csv"
    if not is_file(file):
        if table in OPTIONAL:
            return []
        raise InputError("a table is missing", file=file, key=table)
    reader = csv.DictReader(io.StringIO(read_text(file, TABLE_BYTES, table), newline=""), restkey="", strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise InputError(f"not a CSV table ({error})", file=file, key=table) from error
    found = tuple(reader.fieldnames or ())
    extra = EXTRA.get(table, {})
    wrong = sorted(set(found) ^ set(COLUMNS[table]) - set(extra))
    wrong = [c for c in wrong if c not in extra]
    if wrong or len(set(found)) != len(found):
        raise InputError(
            "wrong columns", file=file, key=f"{table}.{wrong[0] if wrong else found}", value=", ".join(found),
            allowed=", ".join((*COLUMNS[table], *(f"{c} (may be absent)" for c in extra))),
        )  # fmt: skip
    for i, row in enumerate(rows):
        if "" in row or None in row.values():
            raise InputError(
                "fields and columns differ in number", file=file, key=f"{table}.row {i + 2}",
                value=len(row), allowed=str(len(found)),
            )  # fmt: skip
    return [{k: v.strip() for k, v in row.items()} for row in rows]


def _elements(folder: Path, table: str, kind: Callable[..., T]) -> tuple[T, ...]:
    """Rows of a table as dataclasses whose fields carry the names of its columns."""
    types: dict[str, str] = kind.__annotations__
    file = folder / f"{table}.csv"
    readers: dict[str, Callable[[str, Path, str], Any]] = {
        "float": _number, "bool": _truth, "int": _whole, "float | None": _number_if_any,
    }  # fmt: skip
    elements = []
    for row in _rows(folder, table):
        values: dict[str, Any] = {}
        for column, text in row.items():
            key = f"{table}.{row['name']}.{column}"
            values[column] = readers[types[column]](text, file, key) if types[column] in readers else text
        elements.append(kind(**values))
    return tuple(elements)


def _line_code(row: Row, file: Path) -> LineCode:
    def matrix(kind: str, unit: str) -> Matrix:
        columns = [f"{kind}_{t}_{unit}" for t in TRIANGLE]
        aa, ab, ac, bb, bc, cc = (_number(row[c], file, f"line_codes.{row['name']}.{c}") for c in columns)
        return ((aa, ab, ac), (ab, bb, bc), (ac, bc, cc))

    r, x, b = matrix("r", "ohm_per_mile"), matrix("x", "ohm_per_mile"), matrix("b", "us_per_mile")
    return LineCode(row["name"], r, x, b, row["source"])


def _regulators(folder: Path) -> tuple[Regulator, ...]:
    """One regulator from the rows of its units, which must agree in everything else."""
    file = folder / "regulators.csv"
    found: dict[str, Regulator] = {}
    for row in _rows(folder, "regulators"):
        name, unit = row["name"], row["unit"]
        tap = _whole(row["tap"], file, f"regulators.{name}.tap")
        known = found.get(name)
        taps = dict(known.taps) if known else {}
        if unit in taps:
            raise InputError(
                "the unit appears twice",
                file=file,
                key=f"regulators.{name}.unit",
                value=unit,
                allowed="one row",
            )
        kva, r, x = (
            _number(row[c], file, f"regulators.{name}.{c}") if row.get(c) else 0.0
            for c in ("kva", "r_percent", "x_percent")
        )
        new = Regulator(
            name, row["from_bus"], row["to_bus"], row["connection"], taps | {unit: tap}, row["source"],
            kva or None, r, x,
        )  # fmt: skip
        for column in ("from_bus", "to_bus", "connection", "kva", "r_percent", "x_percent"):
            if known and getattr(new, column) != getattr(known, column):
                raise InputError(
                    "units of one regulator differ", file=file, key=f"regulators.{name}.{column}",
                    value=getattr(new, column), allowed=getattr(known, column),
                )  # fmt: skip
        found[name] = new
    return tuple(found.values())


def _number(text: str, file: Path, key: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError("not a number", file=file, key=key, value=text, allowed="a number") from None


def _number_if_any(text: str, file: Path, key: str) -> float | None:
    return _number(text, file, key) if text else None


def _whole(text: str, file: Path, key: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(
            "not a whole number", file=file, key=key, value=text, allowed="a whole number"
        ) from None


def _truth(text: str, file: Path, key: str) -> bool:
    if text not in ("true", "false"):
        raise InputError("neither true nor false", file=file, key=key, value=text, allowed="true, false")
    return text == "true"


def write_feeder(feeder: Feeder, folder: str | Path) -> None:
    """Write the tables of a feeder; reading them back gives an equal feeder.

    Args:
        feeder: the feeder.
        folder: created when absent; tables in it are replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    head = {key: (str(getattr(feeder, key)), feeder.notes.get(key, ("", ""))[1]) for key in FEEDER_KEYS}
    notes = head | {k: note for k, note in feeder.notes.items() if k not in head}
    _write(folder, "feeder", [{"key": k, "value": v, "source": s} for k, (v, s) in notes.items()])
    for table in PLAIN:
        columns = (*COLUMNS[table], *EXTRA.get(table, {}))
        _write(folder, table, [{c: getattr(row, c) for c in columns} for row in getattr(feeder, table)])
    _write(folder, "line_codes", [_line_code_row(code) for code in feeder.line_codes])
    units = [
        {"name": r.name, "from_bus": r.from_bus, "to_bus": r.to_bus, "connection": r.connection, "unit": unit,
         "tap": tap, "source": r.source, "kva": r.kva, "r_percent": r.r_percent, "x_percent": r.x_percent}
        for r in feeder.regulators
        for unit, tap in r.taps.items()
    ]  # fmt: skip
    _write(folder, "regulators", units)


def _line_code_row(code: LineCode) -> dict[str, object]:
    row: dict[str, object] = {"name": code.name, "source": code.source}
    for kind, matrix, unit in (
        ("r", code.r_ohm_per_mile, "ohm_per_mile"),
        ("x", code.x_ohm_per_mile, "ohm_per_mile"),
        ("b", code.b_us_per_mile, "us_per_mile"),
    ):
        for t in TRIANGLE:
            row[f"{kind}_{t}_{unit}"] = matrix["abc".index(t[0])]["abc".index(t[1])]
    return row


def _write(folder: Path, table: str, rows: Iterable[Mapping[str, object]]) -> None:
    rows = list(rows)
    file = folder / f"{table}.csv"
    if not rows and table in OPTIONAL:
        file.unlink(missing_ok=True)
        return
    used = [c for c, value in EXTRA.get(table, {}).items() if any(row[c] != value for row in rows)]
    with file.open("w", newline="", encoding="utf-8") as stream:
        columns = (*COLUMNS[table][:-1], *used, COLUMNS[table][-1])
        writer = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: str(v).lower() if isinstance(v, bool) else v for k, v in row.items()})
