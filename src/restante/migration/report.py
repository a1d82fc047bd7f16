"""What became of a migration, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

NUMBERS = (
    "messages", "octets", "moved", "moved_octets", "there", "removed", "vanished", "waiting",
    "more", "failed", "mapped", "other_octets", "differs",
)  # fmt: skip
"""What is summed up over all accounts."""

LISTED = 20
"""Messages of an account that are named one by one in the lines for people."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A message that isn't as it should be: its unique-id, and why."""

    unique_id: str
    reason: str


@dataclass(slots=True)
class AccountReport:
    """What became of one account.

    messages, octets: at the source. moved, moved_octets: by this run. there: they were at the
    destination already. removed: they were there once, and have been removed since; they are
    not moved again. vanished: removed at the source meanwhile. waiting: for the last run, as the
    source's server hasn't given them unique-ids yet.
    failed: messages that could not be moved. mapped: those whose unique-ids at the source can't
    be had at the destination.
    other_octets: messages that were moved with another length than the source lists.
    differs: what a check has found. more: messages that only the destination has.
    error: why the account was given up; empty if it wasn't. tries: how often it was begun.
    """

    account: str
    messages: int = 0
    octets: int = 0
    moved: int = 0
    moved_octets: int = 0
    there: int = 0
    removed: int = 0
    vanished: int = 0
    waiting: int = 0
    failed: list[Trouble] = field(default_factory=list)
    mapped: list[Trouble] = field(default_factory=list)
    other_octets: list[Trouble] = field(default_factory=list)
    differs: list[Trouble] = field(default_factory=list)
    more: int = 0
    error: str = ""
    tries: int = 0

    @property
    def is_well(self) -> bool:
        """Whether nothing is left to be done."""
        return not (self.error or self.failed or self.other_octets or self.differs)

    def begin_again(self) -> None:
        """Forget what was counted of the maildrop, but not of what was moved: that stays moved."""
        self.messages = self.octets = self.there = self.removed = self.vanished = 0
        self.waiting = self.more = 0
        for each in (self.failed, self.mapped, self.differs):
            each.clear()


@dataclass(slots=True)
class Report:
    """What became of a migration, or of a check.

    source, destination: what they were. checked: nothing was moved, both were compared.
    seconds: how long it took.
    """

    source: str
    destination: str
    checked: bool = False
    seconds: float = 0.0
    accounts: list[AccountReport] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether nothing is left to be done."""
        return all(each.is_well for each in self.accounts)

    def total(self, name: str) -> int:
        """The sum of a number, or of the length of a list, over all accounts."""
        values = [getattr(each, name) for each in self.accounts]
        return sum(len(value) if isinstance(value, list) else value for value in values)

    def as_json(self) -> dict[str, Any]:
        """For `json.dump`."""
        return {
            "source": self.source,
            "destination": self.destination,
            "checked": self.checked,
            "well": self.is_well,
            "seconds": round(self.seconds, 3),
            "total": {
                "accounts": len(self.accounts),
                "accounts_not_well": sum(not each.is_well for each in self.accounts),
                **{name: self.total(name) for name in NUMBERS},
            },
            "accounts": [{**asdict(each), "well": each.is_well} for each in self.accounts],
        }


def described(report: AccountReport, *, checked: bool) -> list[str]:
    """An account in lines for people: the first says how it stands, others name messages."""
    if report.error:
        first = f"{report.account}: failed: {report.error}"
        if report.moved:
            first += f" ({count_messages(report.moved)} moved before)"
    elif checked:
        first = f"{report.account}: {count_messages(report.messages)}: {_checked(report)}"
    else:
        first = (
            f"{report.account}: {count_messages(report.moved)} moved, {report.moved_octets} octets"
        )
        parts = (
            (report.there, "were there already"),
            (report.removed, "were there and have been removed since"),
            (report.vanished, "have vanished at the source"),
            (report.waiting, "wait for --last, as they have no unique-ids there yet"),
            (len(report.failed), "failed"),
            (len(report.other_octets), "have another length than the source lists"),
        )
        first += "".join(f"; {count} {text}" for count, text in parts if count)
    lines = [first]
    lines += _listed("  not moved", report.failed)
    lines += _listed("  another length", report.other_octets)
    lines += _listed("  differs", report.differs)
    lines += _listed("  another unique-id", report.mapped)
    return lines


def _checked(report: AccountReport) -> str:
    parts = []
    if report.vanished:
        parts.append(f"{report.vanished} have vanished at the source")
    if report.more:
        parts.append(f"{report.more} more at the destination")
    if report.differs:
        parts.append(f"{len(report.differs)} differ")
    elif not report.mapped:
        parts.append("a client downloads nothing again")
    return "; ".join(parts) or "the same, but for unique-ids that can't be kept"


def _listed(words: str, troubles: list[Trouble]) -> list[str]:
    lines = [f"{words}: {each.unique_id}: {each.reason}" for each in troubles[:LISTED]]
    if len(troubles) > LISTED:
        lines.append(f"{words}: {len(troubles) - LISTED} others; --report names all")
    return lines


def count_messages(count: int) -> str:
    """As `1 message` or `2 messages`."""
    return f"{count} message{'' if count == 1 else 's'}"
