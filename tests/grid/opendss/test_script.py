"""Scripts read without OpenDSS: what passes means the same, what does harm is refused before OpenDSS sees anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import opendssdirect
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cosim
from cosim.errors import InputError
from cosim.grid.opendss.context import new_context
from cosim.grid.opendss.importer.importer import import_feeder
from cosim.grid.opendss.importer.reading import read_circuit
from cosim.grid.opendss.importer.script import _HANDLERS, _WHOLE, read_script
from cosim.grid.opendss.importer.tokens import Refused, tokenise
from cosim.grid.opendss.importer.vocabulary import CLASSES, COMMANDS, OPTIONS
from tests.grid.dss_circuits import END, RADIAL, TRUNK, WYE, WYE_LOADS

LINE = "new line.y bus1=m bus2=e linecode=c length=1\n"
CIRCUIT = WYE + TRUNK + LINE + WYE_LOADS
HARMLESS = (
    "show voltages ln nodes\nexport capacity\nplot profile\nvisualize what=powers element=line.y\nshow y\ncloseDI\n"
)

HOSTILE = {
    "a library for a generator": "new generator.g bus1=e kv=12.47 kw=1 model=6 usermodel=X.so",
    "an abbreviated property": "new generator.g bus1=e kv=12.47 kw=1 userm=X.so",
    "in quotes and with white space": 'new generator.g bus1=e\n~   "UserModel" = {X.so}',
    "by its position": "new generator.g bus1=e xrdp=1\n~ debugtrace=no\nedit generator.g d=1 X.so",
    "by assignment": "new generator.g bus1=e\nGenerator.g.UserModel=X.so",
    "by assignment to the active element": "new generator.g bus1=e\nusermodel=X.so",
    "by edit": "new generator.g bus1=e\nedit generator.g usermodel=X.so",
    "by batch edit": "new generator.g bus1=e\nbatchedit generator..* usermodel=X.so",
    "by select and more": "new generator.g bus1=e\nnew line.q bus1=e bus2=f\nselect generator.g\nmore usermodel=X.so",
    "through a variable": "var @v=X.so\nnew generator.g bus1=e usermodel=@v",
    "shaft model": "new generator.g bus1=e shaftmodel=X.so",
    "a photovoltaic system": "new pvsystem.p bus1=e usermodel=X.so",
    "storage": "new storage.s bus1=e dynadll=X.so",
    "storage by its model": "new storage.s bus1=e usermodel=X.so",
    "a capacitor control": "new capacitor.c bus1=e\nnew capcontrol.k capacitor=c element=line.y usermodel=X.so",
    "a class that is not read": "new vccs.v bus1=e.1",
    "expressions": "new dynamicexp.d nvariables=1",
    "an editor": "set editor=/bin/sh",
    "a folder for results": "set datapath=/",
    "a recorder": "set recorder=yes",
    "an abbreviated option": "set datap=/",
    "an option of solve": "solve mode=snap editor=/bin/sh",
    "forms": "set allowforms=yes",
    "a file to edit": "fileedit circuit.dss",
    "a shell": "doscmd touch X",
    "another working folder": "cd /",
    "the names of all buses": "distribute kw=10 how=random file=X",
    "universal identifiers": "uuids X",
    "converted curves": "cvrtloadshapes",
    "a control queue": "_showcontrolqueue",
    "a curve that is written": "new loadshape.l npts=2 mult=[1 2] action=dblsave",
    "a monitor that is written": "new monitor.m element=line.y action=save",
    "an energy meter that is written": "new energymeter.m element=line.y action=save",
    "a script elsewhere": "redirect /etc/passwd",
    "a script above": "redirect ../other.dss",
    "a curve elsewhere": "new loadshape.l npts=2 csvfile=/etc/passwd",
    "a list elsewhere": "new loadshape.l npts=2 mult=(file=/etc/passwd)",
    "coordinates elsewhere": "buscoords /etc/passwd",
    "more iterations than a lifetime has": "set maxiterations=2000000000",
    "more phases than memory": "new linecode.big nphases=1000000",
    "more points than memory": "new loadshape.l npts=999999999",
    "more nodes than room": "new load.q bus1=e" + ".1" * 500,
    "a node that is no number": "new load.q bus1=e.2x",
    "a quote that is not closed": 'new load.q bus1="e',
    "a control character": "new load.q bus1=e\x07",
    "a quote within a value": "new load.q bus1=e'x",
    "names twice": "set allowduplicates=yes",
    "a pattern that takes for ever": "batchedit load.(a+)+$ kw=1",
    "what OpenDSS would pass over": "new load.q bus1=e, , kw=3",
    "an element of no class": "new q bus1=e",
    "a command in quotes": '"//" usermodel=X.so',
}  # fmt: skip


def write(folder: Path, text: str, name: str = "circuit.dss") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def volts_in_opendss(file: Path) -> dict[str, complex]:
    """The oracle: OpenDSS runs the script itself."""
    dss = new_context()
    dss.Text.Command(f'redirect "{file}"')
    dss.Solution.Convergence(1e-9)
    dss.Text.Command("set controlmode=off maxiterations=100")
    dss.Solution.Solve()
    volts = np.asarray(dss.Circuit.AllBusVolts()).view(complex)
    return {name.lower(): volts[k] for k, name in enumerate(dss.Circuit.AllNodeNames())}


@given(st.text(alphabet="ab1. \t,=!/|^\"'()[]{}", max_size=40))
def test_a_line_is_divided_as_opendss_divides_it(line: str) -> None:
    parser = opendssdirect.dss.Parser
    parser.CmdString(line)
    theirs = []
    for _ in range(len(line) + 1):
        name = parser.NextParam()
        theirs.append((name.lower(), parser.StrValue()))
    while theirs and theirs[-1] == ("", ""):
        theirs.pop()
    try:
        ours = [(token.name, token.text) for token in tokenise(line)]
    except Refused as error:
        assert "not closed" in error.message
        return
    while ours and ours[-1] == ("", ""):
        ours.pop()
    assert ours == theirs


def test_commands_and_options_are_opendss_s_in_its_order() -> None:
    executive = new_context().Executive
    commands = tuple(executive.Command(k + 1).lower() for k in range(executive.NumCommands()))
    options = tuple(executive.Option(k + 1).lower() for k in range(executive.NumOptions()))
    assert commands == COMMANDS.order
    assert options == OPTIONS.order


def test_every_command_that_is_read_is_handled() -> None:
    read = {word for word, mark in COMMANDS.marks.items() if not mark}
    assert read == set(_HANDLERS) | _WHOLE | {"clear", "clearall"}


@pytest.mark.parametrize("kind", sorted(set(CLASSES)))
def test_properties_are_opendss_s_in_its_order(kind: str) -> None:
    more = {
        "regcontrol": " transformer=t", "capcontrol": " capacitor=c element=line.y", "gendispatcher": " element=line.y",
        "storagecontroller": " element=line.y", "relay": " monitoredobj=line.y", "recloser": " monitoredobj=line.y",
        "fuse": " monitoredobj=line.y", "swtcontrol": " switchedobj=line.y", "monitor": " element=line.y",
        "energymeter": " element=line.y", "sensor": " element=line.y",
    }.get(kind, "")  # fmt: skip
    dss = new_context()
    line = "new line.y bus1=sourcebus bus2=b"
    for command in ("clear", "new circuit.s", line, "new transformer.t", "new capacitor.c"):
        dss.Text.Command(command)
    if kind == "storagecontroller":
        dss.Text.Command("new storage.q bus1=b")
    dss.Text.Command(f"new {kind}.x{more}")
    assert tuple(name.lower() for name in dss.Element.AllPropertyNames()) == CLASSES[kind].order


@pytest.mark.parametrize("what", RADIAL)
def test_what_is_read_is_what_opendss_builds(what: str, tmp_path: Path) -> None:
    file = write(tmp_path, RADIAL[what])
    theirs = volts_in_opendss(file)
    ours = read_circuit(file).volts
    assert {f"{bus}.{node}" for bus, node in ours} == set(theirs)
    for (bus, node), v in ours.items():
        assert abs(v - theirs[f"{bus}.{node}"]) <= 1e-6 * abs(v) + 1e-6


def test_every_kind_of_syntax_means_the_same(tmp_path: Path) -> None:
    write(tmp_path, "~ kw=120 kvar=(10 2 *)\nnew Load.four like=one bus1=e.2\n", "Sub/More.DSS")
    write(tmp_path, "bus, 1, 2\ne, 3, 4\n", "Sub/xy.csv")
    write(tmp_path, "0.5\n0.75\n1\n", "sub2/shape.csv")
    text = CIRCUIT + (
        "// a comment\n/* a block\nnew load.no bus1=e.1 kw=5\n*/\n"
        "var @v=7.2 @n=e\n"
        "New object=Load.one Bus=@n.3 ph=1 kV=@v kw=100 pf=0.9 vminpu=0.7 vmaxpu=1.3 ! comment\n"
        "new load.two 1 e.1 7.2, 50 0.95 1 vminp=.7 vmaxpu=1.3\n"
        "new load.three bus1=\"e.1\" phases=1 kv={7.2} kw='12' kvar=[3] vminpu=0.7\n"
        "redirect sub/more.dss\nLoad.two.kW=60 kvar=20\nload.three.kw=(3 4 + 2 *)\nkvar=2\n"
        "select load.two\nmore vmaxpu=1.25\nedit Load.one kw=130\nbatchedit load.t.* vminpu=0.75\n"
        "new loadshape.s npts=3 interval=1 csvfile=Sub2\\SHAPE.csv action=normalize\n"
        "new loadshape.q npts=3 interval=1 mult=(file=sub2/shape.csv, column=1)\nload.one.yearly=s\n"
        "new line.tie bus1=e bus2=s switch=y\nopen line.tie 1\nnew load.off bus1=e.1 kv=7.2 kw=99\ndisable load.off\n"
        "setkvbase bus=e kvll=12.47\nset loadmult=1.1\n"
    ) + END + "buscoords sub/XY.csv\nsolve\n"  # fmt: skip
    file = write(tmp_path, text)
    ours = read_circuit(file)
    for name in ("Sub/more.dss", "sub/more.dss", "sub/XY.csv", "Sub2/SHAPE.csv", "Sub2\\SHAPE.csv"):
        source = {"more": "Sub/More.DSS", "xy": "Sub/xy.csv", "shape": "sub2/shape.csv"}[Path(
            name.replace("\\", "/")).stem.lower()]  # fmt: skip
        write(tmp_path, (tmp_path / source).read_text(), name)  # OpenDSS itself minds the case
    theirs = volts_in_opendss(file)
    assert ours.xy["e"] == (3.0, 4.0)
    assert {f"{bus}.{node}" for bus, node in ours.volts} == set(theirs)
    for (bus, node), v in ours.volts.items():
        assert abs(v - theirs[f"{bus}.{node}"]) <= 1e-6 * abs(v) + 1e-6


def test_compile_moves_the_folder_and_redirect_does_not(tmp_path: Path) -> None:
    write(tmp_path, "new load.late bus1=e.1 phases=1 kv=7.2 kw=20 kvar=5\n", "deep/b.dss")
    write(tmp_path, CIRCUIT + "redirect b.dss\n", "deep/master.dss")
    file = write(tmp_path, "compile deep/master.dss\nload.late.kw=25\nredirect b2.dss\n" + END)
    write(tmp_path, "load.late.kvar=7\n", "deep/b2.dss")
    assert float(read_circuit(file).of("load")["late"]["kW"]) == 25
    write(tmp_path, "redirect deep/master.dss\nredirect b2.dss\n" + END)
    with pytest.raises(InputError, match="no such file"):
        read_circuit(file)


def test_what_only_shows_results_is_left_out_and_listed(tmp_path: Path) -> None:
    plain = import_feeder(write(tmp_path, CIRCUIT + END))
    found = import_feeder(write(tmp_path, CIRCUIT + END + HARMLESS + "set mode=yearly number=8760\nsolve\n"))
    assert found.feeder == plain.feeder
    listed = [o.reason for o in found.omissions if o.kind == "skipped"]
    assert len(listed) == 8
    assert any("export capacity" in reason for reason in listed) and any("mode=yearly" in reason for reason in listed)
    assert [f.name for f in tmp_path.iterdir()] == ["circuit.dss"]


@pytest.mark.parametrize("what", HOSTILE)
def test_what_describes_no_circuit_is_refused_by_line_and_file(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    master = write(folder, CIRCUIT + "redirect part.dss\n" + END)
    part = write(folder, "! a part\n" + HOSTILE[what] + "\n", "part.dss")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        read_script(master)
    assert caught.value.file == part.resolve()
    assert re.fullmatch(r"line [2-5]", str(caught.value.key))
    assert caught.value.allowed
    assert len(str(caught.value)) < 2000
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_no_library_is_loaded(tmp_path: Path) -> None:
    marker = tmp_path / "was_run"
    code = write(tmp_path, "#include <fcntl.h>\n__attribute__((constructor)) void f(void)"
                 f'{{ open("{marker}", O_CREAT | O_WRONLY, 0600); }}\n', "x.c")  # fmt: skip
    library = tmp_path / "x.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(code)], check=True)
    dss = new_context()
    for command in ("clear", "new circuit.s"):
        dss.Text.Command(command)
    with pytest.raises(opendssdirect.DSSException):
        dss.Text.Command(f'new generator.g bus1=sourcebus usermodel="{library}"')
    assert marker.exists(), "OpenDSS itself runs it: the test is worth something"
    marker.unlink()
    for what, text in HOSTILE.items():
        file = write(tmp_path / "in", CIRCUIT + text.replace("X.so", str(library)) + "\n" + END)
        with pytest.raises(InputError):
            import_feeder(file)
        assert not marker.exists(), what


@pytest.mark.parametrize(
    ("name", "message"),
    [("itself", "leads back"), ("/dev/zero", "outside"), ("pipe", "no ordinary file"), ("large", "too large"),
     ("zero", "outside"), ("folder", "no ordinary file"), ("binary", "no text"), ("a", "leads back"),
     ("many", "too large")],
)  # fmt: skip
def test_files_that_never_end_are_told_at_once(name: str, message: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(10**12)
    (tmp_path / "binary").write_bytes(b"PK\x03\x04\0\0")
    write(tmp_path, "redirect b\n", "a")
    write(tmp_path, "redirect A\n", "b")
    write(tmp_path, "!" * 900_000 + "\n", "leaf")
    write(tmp_path, "redirect leaf\n" * 30, "many")
    target = "circuit.dss" if name == "itself" else name
    for text in (f"redirect {target}\n", f"compile {target}\n"):
        with pytest.raises(InputError, match=message):
            read_script(write(tmp_path, text))


def test_a_link_that_leads_outside_is_refused_and_a_wider_folder_is_taken(tmp_path: Path) -> None:
    outside = write(tmp_path, "1\n2\n", "elsewhere/shape.csv")
    file = write(tmp_path, CIRCUIT + "new loadshape.s npts=2 csvfile=shape.csv\n" + END, "in/circuit.dss")
    (tmp_path / "in" / "shape.csv").symlink_to(outside)
    with pytest.raises(InputError, match="outside"):
        read_script(file)
    assert read_script(file, inside=tmp_path).commands


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"fold\xff")
    file = write(folder, CIRCUIT + END)
    with pytest.raises(InputError, match="no text"):
        read_script(file)


def test_the_first_context_leaves_the_working_folder_alone(tmp_path: Path) -> None:
    code = (
        "import os, sys, cosim.simulation.runner\n"
        "from cosim.grid.opendss.admittance import admittance_of\n"
        "from cosim.grid.feeder.tables import read_feeder\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "admittance_of(read_feeder('ieee13'))\n"
        "sys.stdout.write(os.getcwd())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout) == tmp_path.resolve()


def test_contexts_are_made_in_one_place() -> None:
    package = Path(cosim.__file__).parent
    made = [f.name for f in package.rglob("*.py") if ".NewContext()" in f.read_text()]
    assert made == ["context.py"]
