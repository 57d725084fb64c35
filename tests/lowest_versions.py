"""The lowest versions that ``setup.cfg`` allows, as constraints for pip (``make test-lowest``)."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from pathlib import Path

SETUP = Path(__file__).resolve().parents[1] / "setup.cfg"
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:>=\s*(?P<version>[0-9][0-9A-Za-z.]*))?")


def lowest_versions(setup: Path = SETUP) -> list[str]:
    """``name==version`` for every requirement of the package and of its extras, in the order of the file.

    Raises:
        ValueError: a requirement without a lower bound.
    """
    config = configparser.ConfigParser()
    config.read(setup, encoding="utf-8")
    own = config["metadata"]["name"]
    return list(dict.fromkeys(f"{n}=={v}" for n, v in _bounds(config) if n != own))


def _bounds(config: configparser.ConfigParser) -> Iterator[tuple[str, str]]:
    """Name and lower bound of each requirement; the package's own name stands for its other extras."""
    own = config["metadata"]["name"]
    lists = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    for line in (line.strip() for text in lists for line in text.splitlines()):
        if not line:
            continue
        found = _REQUIREMENT.fullmatch(line)
        if found is None or (found["version"] is None and found["name"] != own):
            raise ValueError(f"setup.cfg: no lower bound in {line!r}; allowed: name>=version")
        yield found["name"], found["version"]


if __name__ == "__main__":
    print("\n".join(lowest_versions()))
