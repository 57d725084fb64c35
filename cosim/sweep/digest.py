"""The key of a run: a hash of everything that its results follow from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cosim.errors import InputError
from cosim.files import file_digest
from cosim.grid.feeder.tables import read_feeder
from cosim.results.record import versions
from cosim.scenario.inputs.code import code_digest, module_file, own_sources, text_digest
from cosim.scenario.inputs.named import NamedInput, circuit_script, files_of, named_inputs
from cosim.scenario.own_code import OWN_CODE

STORE_VERSION = 2


def run_key(scenario: Mapping[str, Any], inputs: Mapping[str, str], surroundings: str) -> str:
    """Key of a run: ``r`` and 15 hexadecimal digits.

    Args:
        scenario: the effective scenario with mode and seed; its description does not count.
        inputs: digest of each file that it names.
        surroundings: see :func:`surroundings_digest`.
    """
    counted = {k: v for k, v in scenario.items() if k != "description"}
    return "r" + text_digest(json.dumps([counted, dict(inputs)], sort_keys=True), surroundings)[:15]


def surroundings_digest(
    modules: Sequence[str], measure: str | None, tables: Sequence[str], *folders: Path
) -> str:
    """Hash of what is the same for all runs: code, versions of cosim, Python and solvers, and what is measured.

    Args:
        modules: import paths (``package.module:name``) of a user's own agents, rules and resources.
        folders: in which modules are looked for first.
    """
    parts = [str(STORE_VERSION), code_digest(), json.dumps(versions(), sort_keys=True), measure or "", *sorted(tables)]
    named = [m for m in [*modules, measure] if m]
    files = {source.name: source.file for source in own_sources(named, *folders)}
    for module in {m.partition(":")[0] for m in named if m.startswith(OWN_CODE)}:  # a measurement of ours
        if (file := module_file(module)) is not None:
            files[module] = file
    for name in sorted(files):
        parts += [name, file_digest(files[name])]
    return text_digest(*parts)


class InputDigests:
    """Digests of the files that scenarios beside one another name; each file is read once.

    Args:
        path: the scenario's file, beside which names are looked for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[tuple[str, str], str] = {}

    def of(self, scenario: Mapping[str, Any]) -> dict[str, str]:
        """Digest of the feeder and of each series by its name.

        Raises:
            InputError: a feeder or table that is not there.
        """
        return {f"{n.kind} {n.name}": self._digest(n) for n in named_inputs(scenario)}

    def _digest(self, named: NamedInput) -> str:
        known = (named.kind, named.name)
        if known not in self._known:
            kinds = {"feeder": self._feeder, "dss": self._circuit, "series": self._series}
            self._known[known] = kinds[named.kind](named)
        return self._known[known]

    def _series(self, named: NamedInput) -> str:
        (table,) = files_of(named, self._path).files
        return file_digest(table)

    def _circuit(self, named: NamedInput) -> str:
        """Hash of an OpenDSS script and of all that it reads."""
        from cosim.grid.opendss.importer.script import read_script, script_digest

        return script_digest(read_script(*circuit_script(named, self._path)))

    def _feeder(self, named: NamedInput) -> str:
        """Hash of a feeder as it is read, so that neither the place nor the order of its files counts."""
        try:
            return text_digest(repr(read_feeder(named.name, self._path.parent)))
        except InputError as error:
            if error.file is not None:
                raise
            raise error.changed(file=self._path, key=named.key, value=named.name) from None
