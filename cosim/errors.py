"""The two ways in which cosim gives up: wrong input (exit code 2) and a failed run (exit code 1)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class InputError(ValueError):
    """Input that cannot be used, named so that its author can mend it.

    Args:
        message: what is wrong, in one sentence.
        file: the file in which it stands.
        key: the dotted key, table column or element.
        value: the value that was found.
        allowed: what would be accepted instead.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        key: str | None = None,
        value: object = None,
        allowed: str | None = None,
    ) -> None:
        self.message, self.file, self.key, self.value, self.allowed = message, file, key, value, allowed
        parts = [message]
        if key is not None:
            parts.append(f"key: {key}")
        if value is not None:
            parts.append(f"value: {value!r}")
        if allowed is not None:
            parts.append(f"allowed: {allowed}")
        if file is not None:
            parts.append(f"file: {file}")
        super().__init__("; ".join(parts))


class Evidence(Protocol):
    """What a failure leaves to be looked at."""

    def save(self, folder: Path) -> Path:
        """Write it into a folder, and return where."""
        ...


class RunFailure(RuntimeError):
    """A run that could not be finished although its input was right (a solver gave up, for example).

    Args:
        message: what failed, in one sentence.
        evidence: what can be kept of it, such as the program that no solver could solve.
    """

    def __init__(self, message: str, *, evidence: Evidence | None = None) -> None:
        super().__init__(message)
        self.evidence = evidence


def evidence_of(error: BaseException | None) -> Evidence | None:
    """The evidence of a failure, or of the failure that it was raised from."""
    while error is not None:
        if isinstance(error, RunFailure) and error.evidence is not None:
            return error.evidence
        error = error.__cause__ or error.__context__
    return None
