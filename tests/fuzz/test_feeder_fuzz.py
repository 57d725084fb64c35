"""Tables of feeders changed at random, cell by cell and as text: shown and validated, or refused with one message."""

from __future__ import annotations

import csv
import io
import random
import shutil
from pathlib import Path

import pytest
from mutations import mutated_text, run_agrees, sandbox, told

ROOT = Path(__file__).resolve().parents[2]
FEW, MANY = 20, 200
CELLS = (
    "", " ", "0", "-1", "1", "1e-12", "1e-6", "1e9", "1e308", "-1e308", "1e999", "nan", "inf", "-inf", "abc", "a",
    "ab", "12", "cab",
    "n" * 5000, "9" * 5000, "/../../x", "..", "a b", "a\nb", "a\0b", "true", "delta", "wye", "open-delta", "PQ",
    "701", "799",
    "\u202e", "$\\frac{$", "=1+1", '"', ",", "!", "new line.x", "1e400", "0x10", "1_000", "\u0663",
)  # fmt: skip


def spoil(folder: Path, rng: random.Random) -> None:
    """Change one to three tables of a feeder's folder."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        file = rng.choice(sorted(folder.glob("*.csv")))
        text = file.read_bytes().decode("utf-8", "surrogatepass")
        if rng.random() < 0.3:
            text = mutated_text(rng, text)
        else:
            rows = list(csv.reader(io.StringIO(text)))
            row = rng.choice(rows[0 if rng.random() < 0.1 else 1 :] or [[]])
            if row:
                column = rng.randrange(len(row))
                number = rng.random() < 0.3 and row[column].replace(".", "", 1).isdecimal()
                scale = rng.choice((-1, 0, 1e-12, 1e-6, 0.01, 10, 1e3, 1e6, 1e12))
                row[column] = repr(float(row[column]) * scale) if number else rng.choice(CELLS)
            stream = io.StringIO()
            csv.writer(stream, lineterminator="\n").writerows(rows)
            text = stream.getvalue()
        if rng.random() < 0.03:
            file.unlink()
        else:
            file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")


def check(folder: Path, seed: int) -> None:
    """Validate a scenario on a changed feeder, run it where it passes, and show the feeder."""
    rng = random.Random(seed)
    with sandbox(folder) as place:
        base = rng.choice(("ieee37", "ieee37", "ieee13", "ieee123"))
        shutil.copytree(ROOT / "data" / "feeders" / base, place / "mine")
        spoil(place / "mine", rng)
        # Units stand on IEEE 37 only: elsewhere the placement is refused and the feeder is judged by itself.
        mine = str(place / "mine.yaml")
        model = rng.choice(("lindist3flow", "ac-linear"))
        (place / "mine.yaml").write_text(
            f"base: ieee37\nname: mine\nmode: welfare\nnetwork: {{feeder: mine, model: {model}}}\nclock: {{steps: 1}}\n"
        )
        code, _ = told(["validate", mine])
        if code == 0:
            run_agrees(mine, str(place / "out"), drawn=seed % 8 == 0)
        if seed % 4 == 0 or base != "ieee37":
            told(["feeder", "show", str(place / "mine"), "--out", str(place / "map.png")])


@pytest.mark.parametrize("seed", range(FEW))
def test_a_changed_feeder_is_used_or_refused(tmp_path: Path, seed: int) -> None:
    check(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FEW, MANY))
def test_many_changed_feeders_are_used_or_refused(tmp_path: Path, seed: int) -> None:
    check(tmp_path, seed)
