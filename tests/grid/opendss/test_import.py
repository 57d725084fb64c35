"""Import of OpenDSS circuits: the circuit built from our tables against the original, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cosim.errors import InputError
from cosim.grid.feeder.load_ranges import LoadRanges
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.linear import lindist3flow
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.context import new_context
from cosim.grid.opendss.importer.importer import Import, import_feeder, largest_difference, require_alike, write_import
from cosim.grid.opendss.importer.reading import properties
from tests.grid.dss_circuits import CODE, END, RADIAL, REFUSED, TRUNK, WYE, WYE_LOADS

ORIGIN = "IEEE PES Test Feeder Working Group: IEEE {} Node Test Feeder, as in electricdss-tst {} (BSD-3-Clause)"
REFERENCE: dict[str, tuple[str, float]] = {
    "ieee13": ("ieee13/IEEE13Nodeckt.dss", 1e-4),
    "ieee37 as stocked": ("ieee37/ieee37.dss", 1e-4),
    "ieee37 as published": ("ieee37/ieee37_published.dss", 1e-4),
    "ieee123": ("ieee123/IEEE123Master.dss", 1e-4),
    "ieee8500": ("ieee8500/Master-unbal.dss", 1e-3),
}


def imported(tmp_path: Path, text: str) -> Import:
    file = tmp_path / "circuit.dss"
    file.write_text(text)
    return import_feeder(file)


def linear_error(found: Import) -> float:
    """Largest error of LinDist3Flow against AC, at its own solution."""
    network = lindist3flow.fixed_point(found.feeder)
    y = network.solve(*np.zeros((2, len(network.nodes))))
    ac = AcCircuit(found.feeder).solve()
    values = np.sqrt(network.voltages.at(y))
    return max(abs(v - ac.voltages[label]) for label, v in zip(network.voltages.labels, values, strict=True))


@pytest.mark.parametrize("what", RADIAL)
def test_the_circuit_of_our_tables_is_the_original(what: str, tmp_path: Path) -> None:
    found = imported(tmp_path, RADIAL[what])
    difference, _ = largest_difference(found)
    assert difference <= 1e-6
    assert len(found.volts) == sum(len(b.phases) for b in found.feeder.buses) - 3 * (
        found.feeder.source_bus not in {bus for bus, _ in found.volts}
    )
    outside = "out of their range" in what  # listed, and exact at the solved voltages
    assert outside or {o.element for o in found.omissions if o.kind != "control"} <= {"line.tie"}


@pytest.mark.parametrize("what", RADIAL)
def test_lindist3flow_meets_ac_on_every_kind_of_section(what: str, tmp_path: Path) -> None:
    assert linear_error(imported(tmp_path, RADIAL[what])) <= 1e-6


@pytest.mark.parametrize("what", RADIAL)
def test_an_imported_feeder_survives_its_tables(what: str, tmp_path: Path) -> None:
    found = imported(tmp_path, RADIAL[what])
    write_import(found, tmp_path / "tables")
    assert read_feeder(tmp_path / "tables") == found.feeder


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_radial_or_cannot_be_carried_is_refused(what: str, tmp_path: Path) -> None:
    text, message, key = REFUSED[what]
    with pytest.raises(InputError, match=message) as caught:
        imported(tmp_path, text)
    assert str(caught.value.key).startswith(key)
    assert caught.value.allowed
    assert caught.value.file == (tmp_path / "circuit.dss").resolve()


@pytest.mark.parametrize(
    "what", [pytest.param(k, marks=[pytest.mark.slow] * (k == "ieee8500")) for k in REFERENCE]
)
def test_the_reference_feeders_are_met_at_the_same_taps(what: str, reference: Path) -> None:
    file, tolerance = REFERENCE[what]
    difference, _ = largest_difference(import_feeder(reference / "feeders" / file))
    assert difference <= tolerance


@pytest.mark.parametrize("what", [pytest.param(x, marks=[pytest.mark.slow] * (x == "ieee8500")) for x in REFERENCE])
def test_lindist3flow_meets_ac_on_the_reference_feeders(what: str, reference: Path) -> None:
    assert linear_error(import_feeder(reference / "feeders" / REFERENCE[what][0])) <= 1e-5


@pytest.mark.parametrize("name", ["ieee13", "ieee37", "ieee123"])
def test_lindist3flow_meets_ac_on_the_shipped_feeders(name: str) -> None:
    assert linear_error(Import(read_feeder(name), (), {})) <= 2e-5


@pytest.mark.parametrize(
    ("number", "script", "document"),
    [
        (13, "ieee13/IEEE13Nodeckt.dss", "IEEE13Nodeckt.dss"),
        (123, "ieee123/solve_ieee123.dss", "IEEE123Master.dss"),
    ],
)
def test_the_shipped_tables_are_what_the_import_makes(
    number: int, script: str, document: str, reference: Path, tmp_path: Path
) -> None:
    found = import_feeder(reference / "feeders" / script, f"ieee{number}", ORIGIN.format(number, document))
    write_import(found, tmp_path / "tables")
    shipped = Path(__file__).resolve().parents[3] / "data" / "feeders" / f"ieee{number}"
    for file in shipped.iterdir():
        ours, theirs = (
            (list(csv.reader(f.read_text().splitlines()))) for f in (file, tmp_path / "tables" / file.name)
        )
        assert len(ours) == len(theirs), file.name
        for a, b in zip(ours, theirs, strict=True):
            assert all(x == y or float(x) == pytest.approx(float(y), rel=1e-9) for x, y in zip(a, b, strict=True))


def test_loads_outside_their_voltage_range_are_named(reference: Path) -> None:
    found = import_feeder(reference / "feeders" / "ieee37" / "ieee37.dss")
    named = {o.element for o in found.omissions if o.kind == "approximated"}
    assert named == {"load.s734c", "load.s735c", "load.s740c", "load.s741c"}


@pytest.mark.parametrize(
    ("line", "element", "reason"),
    [
        ("new load.x bus1=e.1.4 phases=1 kv=7.2 kw=1 kvar=0", "load.x", "between nodes 1 and 4"),
        ("new isource.x bus1=e amps=0.01", "isource.x", "class isource"),
        ("new vsource.x bus1=e.1 phases=1 basekv=7.3 r1=1000 x1=1000", "vsource.x", "second source"),
        ("new load.x bus1=e.1 phases=1 kv=7.2 kw=1 kvar=0 status=fixed", "load.x", "follows the load scale"),
        ("new monitor.x element=line.trunk terminal=1", "monitor.x", "a meter"),
        ("new load.x bus1=e.1 phases=1 kv=7.2 kw=1 kvar=0 enabled=no", "load.x", "out of service"),
    ],
)
def test_what_is_not_represented_is_listed_by_name(line: str, element: str, reason: str, tmp_path: Path) -> None:
    text = WYE + TRUNK + "new line.y bus1=m bus2=e linecode=c length=1\n" + WYE_LOADS + line + "\n" + END
    found = imported(tmp_path, text)
    assert any(o.element == element and reason in o.reason for o in found.omissions)
    write_import(found, tmp_path / "tables")
    with (tmp_path / "tables" / "not_represented.csv").open() as stream:
        assert element in {row["element"] for row in csv.DictReader(stream)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("this is no script\n", "no command of OpenDSS"),
        ("clear\n", "builds no circuit"),
        (WYE + CODE + "new line.x bus1=s bus2=m linecode=nowhere length=1\n", "OpenDSS stopped"),
        (WYE + TRUNK + "new load.x bus1=m kv=12.47 kw=4e5 kvar=3e5 vminpu=0.01 vlowpu=0.005\n" + END, "no solution"),
    ],
)
def test_a_script_that_cannot_be_run_is_wrong_input(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        imported(tmp_path, text)


def test_a_missing_script_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        import_feeder(tmp_path / "nothing.dss")


def test_nothing_is_replaced_unless_it_is_a_feeder(tmp_path: Path) -> None:
    found = imported(tmp_path, RADIAL["a line by geometry"])
    target = tmp_path / "target"
    target.mkdir()
    (target / "letter.txt").write_text("dear")
    for force in (False, True):
        with pytest.raises(InputError, match="the folder"):
            write_import(found, target, force)
    assert [f.name for f in target.iterdir()] == ["letter.txt"]
    write_import(found, tmp_path / "new")
    with pytest.raises(InputError, match="exists"):
        write_import(found, tmp_path / "new")
    write_import(found, tmp_path / "new", force=True)
    assert not [f for f in tmp_path.iterdir() if f.name.startswith(".")]


def test_the_working_folder_stays_where_it_was(
    reference: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    import_feeder(reference / "feeders" / "ieee13" / "IEEE13Nodeckt.dss")
    assert Path.cwd() == tmp_path.resolve()
    assert not list(tmp_path.iterdir())


def test_a_circuit_whose_tables_have_no_solution_is_refused_by_its_worst_bus(tmp_path: Path) -> None:
    found = imported(tmp_path, WYE + TRUNK + "new line.y bus1=m bus2=e linecode=c length=8 units=mi\n"
                     "new load.big bus1=e kv=12.47 kw=7000 kvar=4500 model=5 vminpu=0.3\n" + END)  # fmt: skip
    assert largest_difference(found) == (np.inf, "e")
    with pytest.raises(InputError, match="no AC solution .* most at bus e, where the original has 0.661 pu"):
        require_alike(found)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("new capacitor.q bus1=e phases=3 kvar=100 kv=inf", "capacitor.q.kV"),
        ("new load.q bus1=e.1 phases=1 kv=0 kw=1 enabled=no\nload.q.enabled=yes", "load.q.kV"),
        ("new load.q bus1=e.1 phases=1 kv=7.2 kw=1 kvar=0 vminpu=nan", "load.q.VMinpu"),
        ("new transformer.q buses=(e f) kvs=(12.47 12.47) kvas=(0 0)", "transformer.q.kVAs"),
    ],
)
def test_numbers_that_no_table_can_have_are_refused_by_name(line: str, key: str, tmp_path: Path) -> None:
    text = WYE + TRUNK + "new line.y bus1=m bus2=e linecode=c length=1\n" + WYE_LOADS + line + "\n" + END
    with pytest.raises(InputError) as caught:
        imported(tmp_path, text)
    assert caught.value.key == key or "no solution in OpenDSS" in caught.value.message


def test_voltages_that_are_no_numbers_are_no_difference_of_nought(tmp_path: Path) -> None:
    found = imported(tmp_path, RADIAL["a line by geometry"])
    spoilt = dict(found.volts) | {("e", "a"): complex(np.nan, 0)}
    assert largest_difference(Import(found.feeder, (), spoilt)) == (np.inf, "e")


def test_tables_too_far_from_the_original_are_refused_by_the_worst_bus(tmp_path: Path) -> None:
    found = imported(tmp_path, WYE + TRUNK + "new line.y bus1=m bus2=e linecode=c length=8 units=mi\n" + WYE_LOADS
                     + "new isource.x bus1=e amps=60 angle=180\n" + END)  # fmt: skip
    difference, bus = largest_difference(found)
    assert 0.01 < difference < 1 and bus == "e"
    with pytest.raises(InputError, match="pu from the original, most at bus e .not in the tables: isource.x"):
        require_alike(found)
    assert require_alike(found, 1.0) == (difference, bus)


@pytest.mark.parametrize(("model", "scale"), [(1, 1.0), (5, 1.0), (1, 1.35)])
def test_a_run_knows_where_opendss_takes_a_load_as_an_impedance(model: int, scale: float, tmp_path: Path) -> None:
    """The oracle is OpenDSS: the power that the original draws leaves the model's exactly where we say so."""
    text = (WYE + TRUNK + "new line.y bus1=m bus2=e linecode=c length=3 units=mi\n" + WYE_LOADS
            + "new load.x bus1=e.1.2 phases=1 conn=delta kv=12 kw=500 kvar=200 vminpu=0.95 "
            + f"model={model}\n")  # fmt: skip
    found = imported(tmp_path, text + END)
    (load,) = [x for x in found.feeder.loads if x.name == "x"]
    assert load.v_min_pu == pytest.approx(0.95 * 12 / 12.47, abs=1e-6)
    ranges, circuit = LoadRanges(found.feeder), AcCircuit(found.feeder)
    circuit.solve(scale)
    ranges.see(3, circuit.node_phasors)
    dss = new_context()
    dss.Text.Command(f'redirect "{tmp_path / "circuit.dss"}"')
    dss.Solution.LoadMult(scale)
    dss.Solution.Solve()
    dss.Circuit.SetActiveElement("load.x")
    drawn = sum(dss.CktElement.Powers()[0::2])
    v = abs(complex(*dss.CktElement.Voltages()[0:2]) - complex(*dss.CktElement.Voltages()[2:4])) / 12e3
    kept = drawn == pytest.approx(500 * scale * v ** {1: 0, 5: 1}[model], rel=1e-3)
    assert ("x" not in ranges.loads) == kept
    assert (ranges.note() is None) == kept


@pytest.mark.parametrize("token", ["Nan", "nan", "-NaN", "+Inf", "-Inf", "Infinity"])
def test_memory_that_was_never_set_does_not_stop_the_import(token: str) -> None:
    text = f'[{{"Name":"nan, inf","kvar":[600.0],"CMatrix":[[0.0,{token}],[{token},1.0]]}}]'
    (found,) = properties(text)
    assert found["Name"] == "nan, inf" and found["kvar"] == [600.0]
    assert np.array_equal(np.isnan(found["CMatrix"]), [[False, True], [True, False]])
