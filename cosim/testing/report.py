"""What a check of an own class has found, by the names of the checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a class does and should not.

    Attributes:
        check: name of the check, a key of :attr:`Report.checks`.
        message: what was seen, in a sentence.
        broken: whether the contract is broken; otherwise it is doubtful, and worth a look.
    """

    check: str
    message: str
    broken: bool = True


@dataclass(slots=True)
class Report:
    """What a class was checked for, and what was found; each check tells its first finding alone.

    Attributes:
        subject: the import path of the class.
        checks: what each check demands, by its name.
    """

    subject: str
    checks: Mapping[str, str]
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return not any(finding.broken for finding in self.findings)

    @property
    def broken(self) -> list[str]:
        """Names of the checks that found the contract broken, in order."""
        return [finding.check for finding in self.findings if finding.broken]

    def add(self, check: str, message: str, broken: bool = True) -> None:
        """Take up a finding, unless its check has one."""
        assert check in self.checks, check
        if all(finding.check != check for finding in self.findings):
            self.findings.append(Finding(check, message, broken))

    def demand(self, kept: bool, check: str, message: str, broken: bool = True) -> bool:
        """Take up a finding if something is not kept; returns whether it is."""
        if not kept:
            self.add(check, message, broken)
        return kept

    def require(self) -> None:
        """Raise an AssertionError that lists the findings, if the contract is broken."""
        if not self.ok:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        kept = len(self.checks) - len(self.findings)
        lines = [f"{self.subject}: {kept} of {len(self.checks)} checks without a finding"]
        lines += [f"  {'broken' if f.broken else 'doubtful'}: {f.check}: {f.message}" for f in self.findings]
        return "\n".join(lines)
