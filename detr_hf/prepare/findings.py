"""What reading a data set brings to light: faults that stop it, and notes on what was mended or dropped."""

from __future__ import annotations

from dataclasses import dataclass, field

from detr_hf.errors import UserError
from detr_hf.errors import listed as listed

FAULTS_SHOWN = 20
EXAMPLES_SHOWN = 3
DETAILS_KEPT = 1000


@dataclass(frozen=True)
class Fault:
    """What stops a run, in a full sentence; ``code`` names its kind for `detr-hf check`."""

    code: str
    text: str


class FaultError(UserError):
    """A `UserError` that knows the code of its fault."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Findings:
    """What was found in one image: faults, and (kind of note, where) pairs."""

    faults: list[Fault] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Report:
    """The findings of one source, added up.

    ``counts`` and ``details`` are keyed by the kind of note; details keep the first thousand places of each
    kind.
    """

    source: str
    faults: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    details: dict[str, list[str]] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)

    def note(self, kind: str, where: str) -> None:
        """Count one more of ``kind``, and remember where it was."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        places = self.details.setdefault(kind, [])
        if len(places) < DETAILS_KEPT:
            places.append(where)

    def fault(self, sentence: str, code: str = "data", file: str = "") -> None:
        """Remember a fault; once enough are known to act on, stop reading.

        Args:
            sentence: what is wrong, where, and what to do.
            code: the kind of fault, as `detr-hf check` names it.
            file: the picture it concerns, where there is one.

        Raises:
            UserError: with all faults so far, when there are as many as one message shows.
        """
        self.faults.append(sentence)
        if len(self.faults) >= FAULTS_SHOWN:
            self.raise_faults(f"(stopped after {FAULTS_SHOWN}; there may be more)")

    def add(self, findings: Findings) -> None:
        """Take over what was found in one image."""
        for kind, where in findings.notes:
            self.note(kind, where)
        for fault in findings.faults:
            self.fault(fault.text, fault.code)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to one of the totals (images, objects, ...)."""
        self.totals[name] = self.totals.get(name, 0) + amount

    def raise_faults(self, ending: str = "") -> None:
        """Raise all faults in one message, if there are any.

        Raises:
            UserError: one line per fault.
        """
        if self.faults:
            lines = [f"{self.source}: the data cannot be used as it is:"]
            lines += [f"  - {fault}" for fault in self.faults]
            raise UserError("\n".join(lines + ([f"  {ending}"] if ending else [])))

    def sentences(self) -> list[str]:
        """The notes for people: one sentence a kind, with its count and the first few places."""
        return [f"{self.source}: {n} {kind} ({self._examples(kind)})" for kind, n in self.counts.items()]

    def _examples(self, kind: str) -> str:
        shown = self.details[kind][:EXAMPLES_SHOWN]
        return "; ".join(shown) + ("; ..." if self.counts[kind] > len(shown) else "")
