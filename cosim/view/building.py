"""Pages that are made from tables when they are asked for, and kept in memory until what they are made from changes."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote

from cosim.hosting.study.page import hosting_page
from cosim.results.comparison import read_comparison
from cosim.results.folders import COMPARISON_FILE, PAGE_FILE, REPORT_FILE
from cosim.results.pages.page import LIBRARY_FILE, Page, rendered
from cosim.results.pages.pair import pair_page
from cosim.results.pages.runs import TO_COMPARISON, comparison_page, run_page
from cosim.results.record import RECORD_FILE
from cosim.sweep.evaluation.page import evaluation_page
from cosim.sweep.pages.one_run import run_of_sweep_page
from cosim.sweep.pages.overview import sweep_page
from cosim.sweep.reading import read_sweep
from cosim.sweep.storage.store import PLAN_FILE, RUN_PREFIX, RUNS_FOLDER, Store
from cosim.view.catalogue import Kind
from cosim.view.inside import Inside

_MOST_KEPT = 12
Links = Sequence[tuple[str, str]]


@dataclass(slots=True)
class Builder:
    """Makes pages of what lies below a folder, one at a time: a page may take seconds and much memory."""

    inside: Inside
    _kept: OrderedDict[tuple[Any, ...], bytes] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def page(self, kind: Kind, folder: Path, to_root: str) -> bytes:
        """The page of results.

        Args:
            kind: of what is in the folder. to_root: the way from the page to that of all results.

        Raises:
            Refused: something in the folder leads out of the folder that is shown.
            InputError: it cannot be read.
        """
        marks = _marks(folder, kind)
        make: dict[Kind, Callable[[], Page]] = {
            "run": lambda: run_page(folder, self._beside(folder)),
            "comparison": lambda: comparison_page(folder, read_comparison(folder)),
            "sweep": lambda: sweep_page(read_sweep(folder), lambda key: f"{RUNS_FOLDER}/{RUN_PREFIX}{key}/{PAGE_FILE}"),
            "hosting": lambda: hosting_page(folder),
            "evaluation": lambda: evaluation_page(folder),
        }
        return self._made((kind, folder, to_root, *marks), [folder], make[kind], to_root, folder)

    def pair(self, folders: dict[str, Path], to_root: str) -> bytes:
        """The page of two runs by their addresses; errors as :meth:`page`."""
        marks = [mark for folder in folders.values() for mark in _marks(folder, "run")]
        make = lambda: pair_page(folders)  # noqa: E731
        return self._made(("pair", *folders.items(), to_root, *marks), list(folders.values()), make, to_root, None)

    def run_of_sweep(self, sweep: Path, key: str, to_root: str) -> bytes:
        """The page of one run of a sweep; errors as :meth:`page`."""
        links = [("All runs of the sweep", f"../../{PAGE_FILE}")]
        folder = Store(sweep).folder(key)
        marks = (*_marks(sweep, "sweep"), *_marks(folder, "run"))
        make = lambda: run_of_sweep_page(read_sweep(sweep), key, links)  # noqa: E731
        return self._made(("one", folder, to_root, *marks), [sweep], make, to_root, folder)

    def _beside(self, folder: Path) -> Links:
        """A link to the comparison that a run is part of."""
        inside = folder != self.inside.root and (folder.parent / COMPARISON_FILE).is_file()
        return TO_COMPARISON if inside else ()

    def _made(
        self, key: tuple[Any, ...], folders: Sequence[Path], make: Callable[[], Page], to_root: str, folder: Path | None
    ) -> bytes:
        with self._lock:
            if key not in self._kept:
                for place in folders:
                    self.inside.check(place)
                page = make()
                there = [(t, link) for t, link in page.links if folder is not None and _is_there(folder, link)]
                page.links = [("All results", to_root), *there]
                self._kept[key] = rendered(page, f"{to_root}{LIBRARY_FILE}").encode(errors="replace")
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]


def _is_there(folder: Path, link: str) -> bool:
    """Whether a link leads to something: a file, or a page that is made when it is asked for."""
    target = folder / unquote(link)
    return target.parent.is_dir() if target.name == PAGE_FILE else target.is_file()


def _marks(folder: Path, kind: Kind) -> tuple[Any, ...]:
    """What changes when the results in a folder do."""
    names = [RECORD_FILE, COMPARISON_FILE, PLAN_FILE, REPORT_FILE]
    places = [folder, *(folder / name for name in names)]
    if kind == "sweep":
        places.append(folder / RUNS_FOLDER)
    if kind == "comparison":
        with suppress(OSError):
            places += [Path(e.path) / RECORD_FILE for e in sorted(os.scandir(folder), key=lambda e: e.name)]
    found = []
    for place in places:
        try:
            stat = os.stat(place)
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)
