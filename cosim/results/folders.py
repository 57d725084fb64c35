"""Folders of results: written under a temporary name beside the wanted one, then renamed."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from cosim.errors import InputError, evidence_of
from cosim.files import check_name
from cosim.results.durable import HeldFolder, clear_left, replace_folder
from cosim.results.record import RECORD_FILE, ErrorNote, Record
from cosim.results.tables import Layout

SCENARIO_FILE = "scenario.yaml"
COMPARISON_FILE = "comparison.csv"
REPORT_FILE = "report.html"
PAGE_FILE = "page.html"
FIGURES_FOLDER = "figures"
KEPT_FOLDER = "inputs"
"""What a run is made from; a run that failed keeps it too, see :mod:`cosim.scenario.inputs`."""


class ResultFolder:
    """A folder that appears only when its content is complete.

    Used as a context manager: files go into :attr:`path`; leaving the block without an error renames that
    to the wanted place, leaving it with one removes it (what was there before stays). What a process that was killed
    has left beside the wanted place is cleaned up first.

    Args:
        out: the wanted folder; its parents are created.
        force: replace a folder of earlier results.

    Raises:
        InputError: the folder exists (and ``force`` is not given, or it holds something else than results),
            or it cannot be created.
    """

    def __init__(self, out: str | Path, *, force: bool = False) -> None:
        self.out = Path(os.path.abspath(out))
        self._force = force
        check_name(self.out, "--out")
        clear_left(self.out)
        refuse_existing(self.out, force=force)
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self._held = HeldFolder(self.out)
            self.path = self._held.path
        except OSError as error:
            raise InputError(f"the output folder cannot be created ({error.strerror})", key="--out",
                             value=str(out)) from None  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.publish()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Remove what is not published, and let go of it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._held.release()

    def publish(self) -> None:
        """Put the content in its place; earlier results make room only now."""
        refuse_existing(self.out, force=self._force)
        replace_folder(self.path, self.out)


class RunFolder(ResultFolder):
    """The folder of one run: scenario, record, tables, figures and report.

    If the block ends with an error, the folder holds the scenario, a record with status ``failed``,
    and the evidence of the failure if it has any.
    Wrong input (InputError) and an interrupt leave nothing.

    Args:
        out: see :class:`ResultFolder`.
        draft: what is known of the run before it starts; the record if it fails.
        scenario_text: the effective scenario as YAML.
        force: see :class:`ResultFolder`.
    """

    def __init__(self, out: str | Path, draft: Record, scenario_text: str, *, force: bool = False) -> None:
        super().__init__(out, force=force)
        self._draft = draft
        self._scenario_text = scenario_text
        self._complete = False

    def __enter__(self) -> Self:
        try:
            self._write_scenario()
        except OSError:
            self.abandon()
            raise
        return self

    def _write_scenario(self) -> None:
        (self.path / SCENARIO_FILE).write_text(self._scenario_text, encoding="utf-8")

    def save(self, record: Record, layout: Layout) -> None:
        """Write the record and the layout beside the tables, which complete the folder."""
        layout.write(self.path)
        record.write(self.path)
        self._complete = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and not self._complete:
            self.abandon()
            raise RuntimeError("a run folder was closed without save()")
        if isinstance(error, Exception) and not isinstance(error, InputError):
            with suppress(OSError):  # on a disk that is full even the failure may not fit
                self._keep_only_the_failure(error)
                error = None
        super().__exit__(None if error is None else kind, error, trace)

    def _keep_only_the_failure(self, error: Exception) -> None:
        for written in self.path.iterdir():
            if written.name == KEPT_FOLDER:
                continue
            shutil.rmtree(written) if written.is_dir() else written.unlink()
        self._write_scenario()
        note = ErrorNote(type(error).__name__, str(error))
        replace(self._draft, status="failed", error=note).write(self.path)
        evidence = evidence_of(error)
        if evidence is not None:
            evidence.save(self.path)


def refuse_existing(out: Path, *, force: bool = False) -> None:
    """Refuse an output folder that is there already; with ``force`` only if it does not hold earlier results.

    Raises:
        InputError: what stands in the way.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise InputError("the output folder exists and is not a folder", key="--out", value=str(out))
    ours = not any(out.iterdir()) or any((out / name).is_file() for name in (RECORD_FILE, COMPARISON_FILE))
    if not force:
        raise InputError("the output folder exists", key="--out", value=str(out),
                         allowed="a new folder, or --force to replace earlier results")  # fmt: skip
    if not ours:
        raise InputError(
            "the folder to replace holds no results of cosim, so it is left alone",
            key="--out",
            value=str(out),
            allowed=f"a folder with {RECORD_FILE} or {COMPARISON_FILE}",
        )
