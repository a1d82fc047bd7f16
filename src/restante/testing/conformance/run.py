"""Run checks against a server."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum

from restante.testing.conformance.check import CHECKS, Check
from restante.testing.conformance.failures import Failed, NotApplicable, NotArrived, NotMade
from restante.testing.conformance.levels import LOGIN, MAIL, RAW, SLOW, STLS, TLS, WRITE, Level
from restante.testing.conformance.probe import Probe, State, Target
from restante.testing.conformance.seed import SeedError

CHECK_SECONDS = 120.0
"""A check that takes longer has failed."""

SLOW_SECONDS = 660.0

MAX_REASON = 300
"""Characters of a reason: a server may have said anything."""


class Outcome(Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    NOT_MADE = "not made"


class Unusable(Exception):
    """The server can't be checked at all: it isn't there, lets nobody in, or gets no mail."""


@dataclass(frozen=True)
class Result:
    """reason: why it failed, doesn't apply, or could not be made.

    dialogue: what was sent and received.
    """

    check: Check
    outcome: Outcome
    reason: str
    dialogue: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Report:
    """Results in the order of the table. implementation: what the server calls itself."""

    target: Target
    implementation: str
    results: tuple[Result, ...]

    def failed(self, *levels: Level) -> list[Result]:
        """Failed checks of these levels, of all if none is given."""
        return [
            each
            for each in self.results
            if each.outcome is Outcome.FAILED and (not levels or each.check.level in levels)
        ]

    def count(self, outcome: Outcome) -> int:
        """How many ended so."""
        return sum(each.outcome is outcome for each in self.results)


def choose(only: Iterable[str] = (), skip: Iterable[str] = ()) -> list[Check]:
    """Checks by their ids, or by a subject such as "uidl". Raises ValueError."""
    import restante.testing.conformance.checks  # noqa: F401, PLC0415 - fills the table

    def ids(given: Iterable[str]) -> set[str]:
        found = set()
        for name in given:
            matching = {id for id in CHECKS if id == name or id.startswith(f"{name}.")}
            if not matching:
                raise ValueError(f"there is no check {name!r}: --list shows all")
            found |= matching
        return found

    wanted, unwanted = ids(only) or set(CHECKS), ids(skip)
    return [each for id, each in CHECKS.items() if id in wanted - unwanted]


def run(target: Target, checks: Collection[Check]) -> Report:
    """Run checks, one after the other. Raises Unusable.

    Where some need mail to be brought in, that is tried before the account is emptied.
    """
    state = State()
    implementation = _knock(target, state)
    if target.seed is not None and any({MAIL, WRITE, RAW} & set(each.needs) for each in checks):
        _try_seed(target, state)
    results = [run_one(target, state, each) for each in checks]
    return Report(target, implementation, tuple(_as_seen(each, state) for each in results))


def _try_seed(target: Target, state: State) -> None:
    """Raises Unusable when mail can't be brought in."""
    probe = Probe(target, state, CHECK_SECONDS)
    try:
        probe.try_seed()
    except (NotArrived, SeedError) as error:
        raise Unusable(f"no mail can be brought in, and none was removed: {error}") from None
    except Failed:
        pass  # the checks will say so
    finally:
        probe.leave()


def _as_seen(result: Result, state: State) -> Result:
    """A check fails whose rule was broken while another was being prepared."""
    broken = state.broken.get(result.check.id)
    if broken is None or result.outcome is Outcome.FAILED:
        return result
    return replace(
        result,
        outcome=Outcome.FAILED,
        reason=broken.reason[:MAX_REASON],
        dialogue=broken.dialogue,
    )


def _knock(target: Target, state: State) -> str:
    """Look whether the server is there and lets us in; what it calls itself."""
    probe = Probe(target, state, CHECK_SECONDS)
    try:
        wire = probe.ungreeted()
        greeting = wire.line()
        wire.leave()
        if target.user is not None and greeting.startswith(b"+OK"):
            probe.login().leave()
        said = (probe.capabilities() or {}).get(b"IMPLEMENTATION") or greeting[4:]
    except Failed as error:
        raise Unusable(f"{target.host}:{target.port}: {error}") from None
    finally:
        probe.leave()
    return said.decode("utf-8", "replace").strip()


def run_one(target: Target, state: State, check: Check) -> Result:
    """Run a check."""
    slow = SLOW in check.needs
    probe = Probe(target, state, SLOW_SECONDS if slow else CHECK_SECONDS)
    outcome, reason = Outcome.PASSED, ""
    began = time.monotonic()
    try:
        for need in check.needs:
            _look(probe, need)
        check.run(probe)
    except NotApplicable as error:
        outcome, reason = Outcome.NOT_APPLICABLE, str(error)
    except Failed as error:
        outcome, reason = Outcome.FAILED, str(error)
    except NotMade as error:
        outcome, reason = Outcome.NOT_MADE, str(error)
    except SeedError as error:
        outcome, reason = Outcome.NOT_MADE, f"mail can't be brought in: {error}"
    except (IndexError, KeyError, ValueError) as error:
        # A reply that no check of framing has thought of must not end the run.
        outcome, reason = Outcome.FAILED, f"its replies can't be read: {error!r}"
    finally:
        probe.leave()
    seconds = time.monotonic() - began
    reason = probe.recording.masked(reason)
    result = Result(check, outcome, reason[:MAX_REASON], tuple(probe.recording.lines), seconds)
    return _as_seen(result, state)


def _look(probe: Probe, need: str) -> None:
    """Raises NotApplicable unless the server, or what was given, has it."""
    target = probe.target
    if need == LOGIN and target.user is None:
        raise NotApplicable("no account was given")
    if need == MAIL and not probe.state.has_mail:
        _look_for_mail(probe)
    if need == WRITE and target.seed is None:
        raise NotApplicable("the account may not be emptied (--write)")
    if need == RAW and not (target.seed and target.seed.raw):
        raise NotApplicable("this way of bringing mail in may change octets")
    if need == SLOW and not target.slow:
        raise NotApplicable("it takes minutes (--slow)")
    if need == TLS and target.tls == "none":
        raise NotApplicable("TLS is not asked for (--tls)")
    if need == STLS:
        if target.tls == "implicit":
            raise NotApplicable("the port begins with TLS")
        if target.tls == "none" and not _offers_stls(probe):
            raise NotApplicable("STLS isn't announced")
    if need.startswith("capa:"):
        _look_for_capability(probe, need.removeprefix("capa:"))


def _look_for_mail(probe: Probe) -> None:
    """Where the account may be emptied the corpus is brought in; else there must be some mail."""
    if probe.target.seed is not None:
        probe.fill()
    else:
        wire = probe.login()
        probe.need_message(wire)
        wire.leave()
    probe.state.has_mail = True


def _offers_stls(probe: Probe) -> bool:
    return b"STLS" in (probe.capabilities() or {})


def _look_for_capability(probe: Probe, name: str) -> None:
    capabilities = probe.capabilities()
    if name.encode() in (capabilities or {}):
        return
    # UIDL and TOP are older than CAPA: they are there if they work.
    if name in ("UIDL", "TOP") and probe.target.user is not None:
        wire = probe.login()
        if name == "TOP" and not probe.count(wire)[0]:
            raise NotApplicable("whether there is TOP an empty maildrop doesn't show")
        if wire.command(b"UIDL" if name == "UIDL" else b"TOP 1 0").ok:
            wire.raw_body()
            wire.leave()
            return
    raise NotApplicable(f"{name} isn't announced")
