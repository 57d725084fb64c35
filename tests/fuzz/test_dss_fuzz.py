"""Mutated hostile OpenDSS scripts: each is imported or refused, soon, and nothing is run or written.

The scripts are read in a process of their own, so that a crash or a hang is seen from outside.
"""

from __future__ import annotations

import json
import os
import random
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LONGEST_S = 10.0
"""Seconds of processor time for one script."""
SILENT_S = 60.0
"""Seconds on a busy machine after which a process that does not answer counts as hanging."""
HEAD = "clear\nset defaultbasefrequency=60\nnew circuit.small basekv=12.47 bus1=s pu=1.02 r1=0.2 x1=0.9 r0=0.3 x0=1.4\n"
BODY = (
    "new linecode.c nphases=3 units=mi rmatrix=(0.35 | 0.15 0.34 | 0.16 0.155 0.345) "
    "xmatrix=(1.02 | 0.5 1.05 | 0.42 0.38 1.03) cmatrix=(9 | -2 9.5 | -1 -2 8.5)\n"
    "new line.trunk bus1=s bus2=m linecode=c length=2 units=mi\n"
    "new line.y bus1=m bus2=e linecode=c length=1 units=mi\n"
    "new transformer.t phases=3 windings=2 buses=(m l) conns=(delta wye) kvs=(12.47 4.16) kvas=(1500 1500) xhl=5.5\n"
    "new load.a bus1=e.1 phases=1 kv=7.2 kw=400 kvar=180 model=1 vminpu=0.7\n"
    "new load.b bus1=l.2 phases=1 kv=2.4 kw=250 kvar=90 model=2\n~ vminpu=0.7 vmaxpu=1.3\n"
    "new load.d bus1=e phases=3 conn=delta kv=12.47 kw=200 kvar=100 model=8 zipv=(0.3 0.3 0.4 0.2 0.5 0.3 0.7)\n"
    "new capacitor.c bus1=e phases=3 kvar=450 kv=12.47\n"
    "new generator.g bus1=e phases=3 kv=12.47 kw=200 kvar=50 model=1\n"
    "new pvsystem.p bus1=m phases=3 kv=12.47 kva=300 pmpp=250 irradiance=0.8 pf=1\n"
    "new storage.s bus1=e.2 phases=1 kv=7.2 kwrated=100 kwhrated=400 state=discharging %discharge=60\n"
    "new loadshape.l npts=3 interval=1 mult=[1 2 3]\nnew monitor.m element=line.y\n"
)
TAIL = "set voltagebases=[12.47, 4.16]\ncalcvoltagebases\nset maxiterations=100\nsolve\n"
HOSTILE = (
    "new generator.x bus1=e kv=12.47 kw=1 model=6 usermodel={so}",
    "edit generator.g usermodel={so}",
    "~ usermodel={so}",
    "generator.g.usermodel={so}",
    "pvsystem.p.usermodel={so}",
    "storage.s.dynadll={so}",
    "storage.s.usermodel={so}",
    "new capcontrol.k capacitor=c element=line.y usermodel={so}",
    "batchedit generator..* usermodel={so}",
    "var @v={so}\nedit generator.g usermodel=@v",
    "generator.g.shaftmodel={so}",
    "export voltages {out}",
    "save circuit dir={out}",
    "show y",
    "dump commands",
    "set datapath={out}",
    "set editor=/bin/sh",
    "set recorder=yes",
    "set demandinterval=yes",
    "set casename={out}",
    "fileedit {out}",
    "doscmd touch {out}",
    "cd {out}",
    "distribute kw=5 file={out}",
    "uuids {out}",
    "solve mode=yearly number=8760",
    "set mode=dutycycle number=100000000",
    "redirect /dev/zero",
    "compile /dev/random",
    "redirect circuit.dss",
    "redirect pipe",
    "redirect link",
    "buscoords /dev/zero",
    "redirect /etc/passwd",
    "new loadshape.z npts=3 csvfile=/dev/zero",
    "new loadshape.z npts=3 mult=(file={out})",
    "redirect archive.zip",
    "new loadshape.z npts=3 mult=[1 2 3] action=dblsave",
    "new monitor.z element=line.y action=save",
    "set maxiterations=2147483647",
    "regcontrol.r.debugtrace=yes",
    "new regcontrol.r transformer=t winding=2 vreg=122 band=2 ptratio=20 debugtrace=yes",
    "new linecode.z nphases=100000000",
    "new line.z phases=60000 bus1=e bus2=q",
    "new loadshape.z npts=2000000000",
    "new transformer.z windings=2000000",
    "new load.z bus1=e" + ".1" * 4000,
    "new load.z bus1=e kw=1e400",
    "load.a.kw=nan",
    "batchedit load.(a|a)*$ kw=3",
    "set tracecontrol=yes",
    "set parallel=yes\nnewactor",
    "vsource.source.pu=1e300",
    "new line.z bus1=e bus2=q length=" + "9" * 300,
    "new load.z bus1=e kw=(" + "1 " * 5000 + ")",
    "clear",
    "quit",
    "reset",
    "disable line.*",
    "open line.y 1",
    "new circuit.other",
    "new reactor.z bus1=e r=0 x=0",
    "line.y.length=0",
    "load.a.kv=0",
    "set loadmult=-1e9",
    "transformer.t.kvs=(0 0)",
    "new fault.f bus1=e.1 r=1e-9",
    "solve",
    "set frequency=0",
)
WORKER = r"""
import json, sys, time
from pathlib import Path
from cosim.errors import InputError
from cosim.grid.opendss.importer.importer import import_feeder, require_alike, write_import
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    number, out = line.split()
    start = time.process_time()
    try:
        found = import_feeder(Path("in") / number / "circuit.dss")
        require_alike(found)
        write_import(found, Path(out) / number)
        told = {"what": "imported"}
    except InputError as error:
        told = {"what": "refused", "length": len(str(error)), "text": str(error)[:300]}
    except BaseException as error:
        import traceback
        told = {"what": "traceback", "text": traceback.format_exc()[-1500:]}
    print(json.dumps(told | {"s": time.process_time() - start}), flush=True)
"""


def spelled(line: str, draw: random.Random) -> str:
    """A line in another spelling that OpenDSS takes for the same."""
    for _ in range(draw.randrange(3)):
        how = draw.randrange(7)
        if how == 0:
            line = "".join(draw.choice((c.upper(), c.lower())) for c in line)
        elif how == 1:
            word = r"\b(usermodel|datapath|editor|action|csvfile)\b(?==)"
            line = re.sub(word, lambda m: m[0][: draw.randint(4, 8)], line)
        elif how == 2:
            quotes = draw.choice(('"{}"', "'{}'", "[{}]", "({})", "{{{}}}"))
            line = re.sub(r"=(\S+)", "=" + quotes.format(r"\1"), line, count=1)
        elif how == 3:
            line = line.replace("=", draw.choice((" = ", "= ", "\t=")))
        elif how == 4:
            line = line.replace(" ", draw.choice((", ", "\t", "  ")))
        elif how == 5:
            head, _, tail = line.rpartition(" ")
            line = f"{head}\n{draw.choice(('~', 'more', 'm'))} {tail}" if head else line
        else:
            line += draw.choice((" ! more", " // more", ""))
    return line


def mutated(draw: random.Random, places: dict[str, str]) -> str:
    """A circuit with hostile lines, or with its text spoilt, or both."""
    lines = (HEAD + BODY + TAIL).splitlines()
    for _ in range(draw.randrange(4)):
        text = draw.choice(HOSTILE).replace("{so}", places["so"]).replace("{out}", places["out"])
        lines.insert(draw.randint(0, len(lines)), spelled(text, draw))
    for _ in range(draw.choice((0, 0, 1, 3))):
        k = draw.randrange(len(lines))
        how = draw.randrange(7)
        if how == 0:
            del lines[k]
        elif how == 1:
            lines.insert(draw.randrange(len(lines)), lines[k])
        elif how == 2:
            place = draw.randint(0, len(lines[k]))
            lines[k] = lines[k][:place] + draw.choice("\"'()[]{}=,!@|\x00\x07\x7f\u00e9.~/*%") + lines[k][place:]
        elif how == 3:
            number = draw.choice(("-1", "0", "1e308", "-1e308", "nan", "inf", "1e-300", "99999999999", "(2 0 /)", "''"))
            found = list(re.finditer(r"(?<==)[\d.]+", lines[k]))
            if found:
                m = draw.choice(found)
                lines[k] = lines[k][: m.start()] + number + lines[k][m.end() :]
        elif how == 4:
            lines[k] = lines[k] * draw.choice((2, 50, 3000))
        elif how == 5:
            words = lines[k].split()
            draw.shuffle(words)
            lines[k] = " ".join(words)
        else:
            other = draw.randrange(len(lines))
            lines[k], lines[other] = lines[other], lines[k]
    return "\n".join(lines) + "\n"


def library(folder: Path, marker: Path) -> Path:
    """A library that leaves a marker when it is loaded; a name without a file where there is no C compiler."""
    code, made = folder / "x.c", folder / "x.so"
    code.write_text('#include <fcntl.h>\n__attribute__((constructor)) void f(void)'
                    f'{{ open("{marker}", O_CREAT | O_WRONLY, 0600); }}\n')  # fmt: skip
    if shutil.which("cc"):
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(made), str(code)], check=True)
    return made


class Worker:
    """A process that imports scripts one after another, started anew when one kills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._start()

    def _start(self) -> None:
        home = {**os.environ, "HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "home")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], cwd=self.folder, env=home, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._line(120.0)

    def _line(self, seconds: float) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline() if ready else "hang"

    def read(self, number: int) -> dict[str, object]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number} out\n")
        self.process.stdin.flush()
        line = self._line(SILENT_S)
        if line in ("", "hang"):
            self.stop()
            self._start()
            return {"what": "hang" if line else "crash", "s": SILENT_S}
        told: dict[str, object] = json.loads(line)
        return told

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


def everything(folder: Path) -> Iterator[str]:
    """Every file and folder outside ``out``."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] != "out":
            yield f"{name} {path.lstat().st_size if path.is_file() else ''}"


def fuzz(folder: Path, seed: int, count: int) -> list[dict[str, object]]:
    """Import so many scripts; what was wrong with any of them fails the test that asked."""
    for name in ("in", "out", "home", "elsewhere"):
        (folder / name).mkdir()
    marker = folder / "was_run"
    so = library(folder / "elsewhere", marker)
    draw = random.Random(seed)
    for number in range(count):
        here = folder / "in" / str(number)
        here.mkdir()
        inside = draw.random() < 0.5
        if inside and so.exists():
            shutil.copy(so, here / "x.so")
        places = {"so": str(here / "x.so" if inside else so), "out": str(folder / "elsewhere" / f"made{number}")}
        (here / "circuit.dss").write_text(mutated(draw, places), encoding="utf-8")
        (here / "archive.zip").write_bytes(b"PK\x03\x04" + draw.randbytes(200))
        (here / "link").symlink_to("/dev/zero")
        os.mkfifo(here / "pipe")
    before = list(everything(folder))
    worker = Worker(folder)
    try:
        told = [worker.read(number) for number in range(count)]
    finally:
        worker.stop()
    assert not marker.exists(), "code was run"
    assert list(everything(folder)) == before, "files were written outside"
    for number, one in enumerate(told):
        text = (folder / "in" / str(number) / "circuit.dss").read_text(encoding="utf-8")
        assert one["what"] in ("imported", "refused"), f"{one}\n{text[:3000]}"
        assert float(str(one["s"])) <= LONGEST_S, f"{one}\n{text[:3000]}"
        assert int(str(one.get("length", 0))) < 2000
    return told


def test_a_few_hostile_scripts_are_imported_or_refused(tmp_path: Path) -> None:
    told = fuzz(tmp_path, seed=17, count=40)
    assert {one["what"] for one in told} == {"imported", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_hostile_scripts_are_imported_or_refused(seed: int, tmp_path: Path) -> None:
    fuzz(tmp_path, seed=seed, count=250)
