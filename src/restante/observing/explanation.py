"""Why a client downloads everything again, and where messages went: the history in words.

Everything said here follows from rows of the history, and the lines that prove it stand beside
it. What is likely, but isn't proven, is called likely.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

from restante.observing.history import (
    MAX_ROWS,
    Deletion,
    History,
    PastDelivery,
    PastListing,
    PastSession,
    RefusedLogin,
    Retrieval,
)

SHOWN = 5
"""Lines of one kind that are shown as proof, and sessions of a client; how many more there are
is said."""

WHOLE_LINES = 100_000
"""Lines from which on TOP is taken for a way to fetch all of a message."""

LATER_SECONDS = 600.0
"""By so much a file must be younger than its name says to be called put back."""

_FILE_NAME = re.compile(r"(\d{9,11})\.\S")
"""A Maildir's file name, which begins with the time of delivery."""

Kind: TypeAlias = Literal[
    "deleted",
    "not deleted",
    "removed",
    "renamed",
    "restored",
    "put there",
    "fetched again",
    "new client",
    "refused",
    "mail refused",
    "mail not delivered",
]
"""What a finding is about: messages that a session deleted, or that it didn't delete as it left
without QUIT; messages that another program removed, whose unique-ids changed, that came back, or
that were put there; messages that a client fetched again; a client that was new and fetched what
others had; logins that were refused; mail that was refused, or that was taken and could not be put
into the maildrop."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that happened. at: when, or by when. text: in words, one or more sentences.

    lines: that prove it. unique_ids: of the messages that it is about. client: the number of
    the client whose doing it was; 0: of none. session: its id in the logs, or "".
    """

    kind: Kind
    at: float
    text: str
    lines: tuple[str, ...]
    unique_ids: tuple[str, ...] = ()
    client: int = 0
    session: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """A client of the maildrop. number: it is called so in this explanation.

    tls: whether it was inside TLS in all its sessions. without_tls: in how many it wasn't, so
    that a password may have gone in the clear. mechanism: how it logged in, in all of them.
    text: what it is and does. sessions: its last ones, the newest last, a line each.
    left: unique-ids of what it fetched and left there. missing: of what is there and it has
    never fetched. deleted, refetched: of what it deleted, and fetched more than once.

    All but `missing` is of the time that the explanation is of.
    """

    number: int
    account: str
    address: str
    tls: bool
    without_tls: int
    mechanism: str
    greeting: str
    text: str
    sessions: tuple[str, ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    deleted: tuple[str, ...]
    refetched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of an account. begins: since when; None: nothing is.

    clients: in the order in which they were first seen. findings: the oldest first. since: only
    clients that had sessions from then on, and what happened from then on; None: all.
    """

    account: str
    maildrop: str
    begins: float | None
    clients: tuple[Client, ...]
    findings: tuple[Finding, ...]
    since: float | None = None

    def text(self) -> str:
        """All of it for people."""
        return _report(self)

    def as_json(self) -> dict[str, Any]:
        """All of it for programs: objects, lists, texts, numbers."""
        return asdict(self)


def explain(
    history: History,
    account: str,
    *,
    since: float | None = None,
    pins: Mapping[str, str] | None = None,
    is_for: Callable[[str], bool] | None = None,
    files: bool = True,
) -> Explanation:
    """What an account's clients did, and what happened to its messages.

    since: tell only of what happened from this time on, in seconds since 1970. What happened
    before is still known to it. pins: unique-ids by key that `restante.pins` of a Maildir has
    now; None: not known. is_for: whether the account gets the mail for an address; None: not
    known. Mail for an address by which it has got mail before is its own in any case. files:
    whether each message is a file, as in a Maildir: other programs may remove, rename and restore
    them. Raises HistoryError when the history can't be read.
    """
    story = _Story(history, account, {} if pins is None else pins, files=files)
    return story.explanation(since, is_for or (lambda address: address == account))


@dataclass(slots=True)
class _Known:
    """What is known of a client while its sessions are gone through."""

    number: int
    sessions: list[PastSession] = field(default_factory=list)
    fetched: dict[str, Retrieval] = field(default_factory=dict)
    refetched: dict[str, float] = field(default_factory=dict)  # when at last
    deleted: dict[str, float] = field(default_factory=dict)

    @property
    def last(self) -> PastSession:
        return self.sessions[-1]

    def __str__(self) -> str:
        return f"client {self.number} ({self.last.address})"


class _Story:
    """Goes through what happened to one maildrop, from the oldest to the newest."""

    def __init__(
        self, history: History, account: str, pins: Mapping[str, str], *, files: bool
    ) -> None:
        self.history = history
        self.files = files
        self.account = account
        self.maildrop = history.maildrop(account)
        self.pinned = frozenset(pins.values())
        found = history.sessions(maildrop=self.maildrop, limit=MAX_ROWS)
        if len({node for each in found for node in each.node.split(", ")}) == 1:
            found = [replace(each, node="") for each in found]  # nobody need be told which
        self.sessions = sorted(found, key=lambda each: each.since)
        self.nodes = {each.number: each.node for each in self.sessions}
        self.listings = history.listings(account, limit=MAX_ROWS)[::-1]
        self.delivered = history.delivered_among(
            unique_id for each in self.listings for unique_id, _ in each.come or ()
        )
        self.deletions: dict[int, list[Deletion]] = defaultdict(list)
        self.deleted: dict[str, list[Deletion]] = defaultdict(list)
        for each in reversed(history.deletions(account)):
            self.deletions[each.number].append(each)
            self.deleted[each.unique_id].append(each)
        self.seen: dict[int, float] = {}  # when a listing was last seen
        for session in self.sessions:
            if session.listing is not None:
                last = self.seen.get(session.listing, 0.0)
                self.seen[session.listing] = max(last, session.until)
        self.sent: dict[int, list[Retrieval]] = defaultdict(list)
        for sent in reversed(history.fetched(account)):
            if sent.lines is None or sent.lines >= WHOLE_LINES:
                self.sent[sent.number].append(sent)
        self.clients: dict[tuple[str, str, str], _Known] = {}
        self.findings: list[Finding] = []
        self.gone: dict[str, tuple[int, float]] = {}  # octets, and by when
        self.earlier: dict[str, str] = {}  # the unique-id that a message had before

    def explanation(self, since: float | None, is_for: Callable[[str], bool]) -> Explanation:
        for listing, before in zip(self.listings[1:], self.listings, strict=False):
            self._compare(before, listing)
        for session in self.sessions:
            self._follow(session)
        for refused in self.history.refusals(account=self.account, since=since, limit=MAX_ROWS):
            self._refused(refused, since)
        self._mail(since, is_for)
        findings = sorted(
            (each for each in self.findings if since is None or each.at >= since),
            key=lambda each: each.at,
        )
        there = self.history.listed(self.listings[-1]) if self.listings else {}
        removed = {each.unique_id for each in self.deletions_since(self.listings[-1:])}
        left = {unique_id: None for unique_id in there if unique_id not in removed}
        return Explanation(
            self.account,
            self.maildrop,
            self.history.begins(),
            tuple(
                _described(each, left, since)
                for each in self.clients.values()
                if since is None or any(session.until >= since for session in each.sessions)
            ),
            tuple(findings),
            since,
        )

    def deletions_since(self, listings: Sequence[PastListing]) -> Iterable[Deletion]:
        """What was deleted after the last listing was first seen."""
        for listing in listings:
            for deleted in self.deletions.values():
                yield from (each for each in deleted if each.at >= listing.at)

    # What happened between two listings

    def _compare(self, before: PastListing, listing: PastListing) -> None:
        gone, come = dict(listing.gone or ()), dict(listing.come or ())
        vanished = {
            unique_id: octets
            for unique_id, octets in gone.items()
            if not any(before.at <= each.at <= listing.at for each in self.deleted[unique_id])
        }
        strange = self._not_delivered(come)
        back = {unique_id: n for unique_id, n in strange.items() if unique_id in self.gone}
        pairs = _pairs(vanished, {u: n for u, n in strange.items() if u not in back})
        for old, new in pairs:
            self.earlier[new] = old
        if pairs:
            self._renamed(before, listing, pairs)
        if rest := {u: n for u, n in vanished.items() if u not in dict(pairs)}:
            self._removed(before, listing, rest)
        if back:
            self._restored(before, listing, back)
        renamed = {new for _, new in pairs}
        others = {u: n for u, n in strange.items() if u not in back and u not in renamed}
        if again := self._restored_pairs(before, others):
            for old, new in again:
                self.earlier[new] = old
                del self.gone[old]
                del others[new]
            self._restored_renamed(before, listing, again)
        if late := {u: n for u, n in others.items() if self._is_late(u, before)}:
            self._put(before, listing, late)
        for unique_id in back:
            del self.gone[unique_id]
        self.gone.update((u, (octets, listing.at)) for u, octets in gone.items())

    def _not_delivered(self, come: Mapping[str, int]) -> dict[str, int]:
        """Those that this server didn't deliver just then, or that were known already."""
        return {
            u: octets for u, octets in come.items() if u in self.gone or u not in self.delivered
        }

    def _restored_pairs(
        self, before: PastListing, others: Mapping[str, int]
    ) -> list[tuple[str, str]]:
        """Messages that had gone, and those that are likely to be the same under another name.

        One that has just been delivered may have the size of another by chance; several hardly.
        """
        known = {unique_id: octets for unique_id, (octets, _) in self.gone.items()}
        pairs = _pairs(known, others)
        if 1 < len(pairs) == len(others):
            return pairs
        old = {
            unique_id: octets
            for unique_id, octets in others.items()
            if _named_at(unique_id) is None or self._is_late(unique_id, before)
        }
        return _pairs(known, old)

    def _is_late(self, unique_id: str, before: PastListing) -> bool:
        """Whether the file's name says that it was delivered long before it was first there."""
        named_at = _named_at(unique_id)
        return named_at is not None and named_at < self._seen(before) - LATER_SECONDS

    def _seen(self, listing: PastListing) -> float:
        """When a session last had this listing."""
        return self.seen.get(listing.number, listing.at)

    def _between(self, before: PastListing, listing: PastListing) -> str:
        return f"between {_time(self._seen(before))} and {_time(listing.at)}"

    def _add(
        self,
        kind: Kind,
        listing: PastListing,
        text: str,
        lines: Iterable[str],
        unique_ids: Iterable[str],
    ) -> None:
        proof = (_listing_line(listing), *lines)
        self.findings.append(
            Finding(kind, listing.at, text, proof, tuple(unique_ids), 0, listing.session)
        )

    def _removed(self, before: PastListing, listing: PastListing, gone: Mapping[str, int]) -> None:
        what = ("its file" if len(gone) == 1 else "their files") if self.files else _them(gone)
        text = (
            f"{_messages(len(gone))} vanished {self._between(before, listing)}. No session deleted"
            f" {_them(gone)}: another program, or somebody by hand, removed {what}."
        )
        self._add("removed", listing, text, _id_lines("gone", gone.items()), gone)

    def _renamed(
        self, before: PastListing, listing: PastListing, pairs: Sequence[tuple[str, str]]
    ) -> None:
        one = len(pairs) == 1
        text = (
            f"{_messages(len(pairs))} changed {'its unique-id' if one else 'their unique-ids'}"
            f" {self._between(before, listing)}: as many with the same sizes are there under"
            " others. "
        )
        was_pinned = [old for old, _ in pairs if _named_at(old) is None]
        now_pinned = [new for _, new in pairs if new in self.pinned]
        if now_pinned:
            text += (
                f"{'The new one is' if one else f'{len(now_pinned)} of the new ones are'} pinned in"
                " restante.pins: given on purpose, as by a move from another server, or to tell"
                " apart files with one name."
            )
        elif not self.files:
            text += "It is likely that they were put there anew, as by a move from another store."
        elif was_pinned and all(_named_at(new) is not None for _, new in pairs):
            text += (
                "The old ones didn't come from file names: they had been pinned. restante.pins has"
                " been removed, or the files were copied or restored without it."
            )
        else:
            text += (
                "Unique-ids come from file names, so it is likely that the files were copied,"
                " restored or renamed."
            )
        text += " To clients they are new messages, and each client downloads them again."
        lines = (f"    was: unique_id={old} now: unique_id={new}" for old, new in pairs)
        self._add("renamed", listing, text, _first(lines), (new for _, new in pairs))

    def _restored(self, before: PastListing, listing: PastListing, back: Mapping[str, int]) -> None:
        by_whom = [self.deleted[each][-1] for each in back if self.deleted[each]]
        one = len(back) == 1
        if not self.files:
            how = "most likely by `restante undelete`"
        elif by_whom:
            how = "most likely by `restante undelete`, or from a backup"
        else:  # what other programs have removed can't be undeleted
            how = f"as from a backup, or by `restante undelete` if {_it(back)} had expired"
        text = (
            f"{_messages(len(back))} that had gone came back {self._between(before, listing)}, with"
            f" the same {'unique-id' if one else 'unique-ids'}:"
            f" {_it(back)} {'was' if one else 'were'} put back, {how}."
        )
        if by_whom:
            which = "It" if one else f"{len(by_whom)} of them"
            text += f" {which} had been deleted by a session."
        lines = [*_id_lines("come", back.items()), *_first(map(self._deletion_line, by_whom))]
        self._add("restored", listing, text, lines, back)

    def _restored_renamed(
        self, before: PastListing, listing: PastListing, pairs: Sequence[tuple[str, str]]
    ) -> None:
        one = len(pairs) == 1
        by_whom = [self.deleted[old][-1] for old, _ in pairs if self.deleted[old]]
        if not self.files:
            how = f"{'it was' if one else 'they were'} put there anew"
        elif one:
            how = "its file was restored under another name"
        else:
            how = "their files were restored under other names"
        text = (
            f"{_messages(len(pairs))} came {self._between(before, listing)} that this server didn't"
            f" deliver. {'It has the size' if one else 'They have the sizes'} of"
            f" {'one' if one else 'as many'} that had gone: it is likely that {how}. To clients"
            f" {'it is a new message' if one else 'they are new messages'}."
        )
        lines = [f"    was: unique_id={old} now: unique_id={new}" for old, new in pairs]
        proof = [*_first(lines), *_first(map(self._deletion_line, by_whom))]
        self._add("restored", listing, text, proof, (new for _, new in pairs))

    def _put(self, before: PastListing, listing: PastListing, late: Mapping[str, int]) -> None:
        one = len(late) == 1
        text = (
            f"{_messages(len(late))} came {self._between(before, listing)} that"
            f" {'was' if one else 'were'} not delivered then: by"
            f" {'its name' if one else 'their names'},"
            f" {'it is' if one else 'they are'} older. Another program, or somebody by hand, put"
            f" {_them(late)} there."
        )
        self._add("put there", listing, text, _id_lines("come", late.items()), late)

    # What sessions did

    def _follow(self, session: PastSession) -> None:
        client = self.clients.get(session.client)
        is_new = client is None
        if client is None:
            client = self.clients[session.client] = _Known(len(self.clients) + 1)
        client.sessions.append(session)
        if sent := self.sent.get(session.number):
            self._fetched(session, client, sent, is_new=is_new)
            client.fetched.update((each.unique_id, each) for each in sent)
        if deleted := self.deletions.get(session.number):
            self._deleted(session, client, deleted)
        elif session.commands.get("DELE") and session.ended != "QUIT":
            self._not_deleted(session, client)

    def _fetched(
        self, session: PastSession, client: _Known, sent: Sequence[Retrieval], *, is_new: bool
    ) -> None:
        again = [
            client.fetched[each.unique_id] for each in sent if each.unique_id in client.fetched
        ]
        renamed = [
            (each, client.fetched[old])
            for each in sent
            if each.unique_id not in client.fetched
            for old in [self._earlier_of(each.unique_id, client.fetched)]
            if old is not None
        ]
        client.refetched.update((each.unique_id, session.until) for each in again)
        client.refetched.update((each.unique_id, session.until) for each, _ in renamed)
        if again:
            one = len(again) == 1
            text = (
                f"{_capital(str(client))} fetched {_messages(len(again))} again that it had fetched"
                f" before{self._all_of(session, again)}. The"
                f" {'unique-id' if one else 'unique-ids'} had not changed, so the reason lies with"
                " the client: it has lost its record of what it has, or keeps none; or there is"
                " another program of the same kind at the same address."
            )
            ids = [each.unique_id for each in again]
            self._client_finding("fetched again", session, text, before=again, unique_ids=ids)
        if renamed:
            text = (
                f"{_capital(str(client))} fetched {_messages(len(renamed))} again, because the"
                f" {'unique-id' if len(renamed) == 1 else 'unique-ids'} had changed: to it"
                f" {'it was a new message' if len(renamed) == 1 else 'they were new messages'}."
            )
            old = [before for _, before in renamed]
            ids = [each.unique_id for each, _ in renamed]
            self._client_finding("fetched again", session, text, before=old, unique_ids=ids)
        if is_new and not again and not renamed:
            self._new_client(session, client, sent)

    def _new_client(self, session: PastSession, client: _Known, sent: Sequence[Retrieval]) -> None:
        """Tell of a client's first session, where others have fetched the same before."""
        for other in self.clients.values():
            had = [
                other.fetched[each.unique_id] for each in sent if each.unique_id in other.fetched
            ]
            if other is client or len(had) * 2 < len(sent):
                continue
            text = (
                f"{_capital(str(client))} was new, and fetched {_messages(len(sent))},"
                f" {len(had)} of which {other} had fetched before."
            )
            same = (other.last.greeting, other.last.mechanism) == (
                session.greeting,
                session.mechanism,
            )
            if same:
                text += (
                    " Both begin their sessions alike, so it may be the same kind of program"
                    " elsewhere, or the same one at another address without its record."
                )
            ids = [each.unique_id for each in sent]
            self._client_finding("new client", session, text, before=had, unique_ids=ids)
            return

    def _all_of(self, session: PastSession, again: Sequence[Retrieval]) -> str:
        return ", all that were there" if 1 < session.messages == len(again) else ""

    def _earlier_of(self, unique_id: str, among: Mapping[str, Retrieval]) -> str | None:
        """The unique-id that a message had before, if it is one of these."""
        old = self.earlier.get(unique_id)
        for _ in range(100):
            if old is None or old in among:
                return old
            old = self.earlier.get(old)
        return None

    def _client_finding(
        self,
        kind: Kind,
        session: PastSession,
        text: str,
        *,
        before: Sequence[Retrieval],
        unique_ids: Sequence[str],
    ) -> None:
        lines = (_session_line(session), *_first(map(self._retrieval_line, before)))
        self.findings.append(
            Finding(kind, session.since, text, lines, tuple(unique_ids),
                    self.clients[session.client].number, session.session)
        )  # fmt: skip

    def _deleted(self, session: PastSession, client: _Known, deleted: Sequence[Deletion]) -> None:
        ids = [each.unique_id for each in deleted]
        client.deleted.update((each.unique_id, each.at) for each in deleted)
        fetched = [each for each in ids if each in client.fetched]
        text = f"{_capital(str(client))} deleted {_messages(len(ids))}"
        if not fetched:
            text += f", which it had not fetched{' whole' if session.commands.get('TOP') else ''}."
        elif len(fetched) == len(ids):
            text += f" that it had fetched: it doesn't leave {_them(ids)} on the server."
        else:
            text += f"; {len(fetched)} of them it had fetched."
        for other in self.clients.values():
            if other is client:
                continue
            had = sum(each in other.fetched for each in ids)
            lost = len(ids) - had
            if lost:
                what = _some(lost, ids)
                text += f" {_capital(str(other))} had not fetched {what}, and can't any more."
            if had:
                text += f" {_capital(str(other))} had fetched {_some(had, ids)} before."
        self.findings.append(
            Finding(
                "deleted", deleted[0].at, text,
                (_session_line(session), *_first(map(self._deletion_line, deleted))),
                tuple(ids), client.number, session.session,
            )
        )  # fmt: skip

    def _retrieval_line(self, sent: Retrieval) -> str:
        return (
            f"{_time(sent.at)} fetched before: unique_id={sent.unique_id} peer={sent.address}"
            f"{_node(self.nodes.get(sent.number, ''))} session={sent.session}"
        )

    def _deletion_line(self, deleted: Deletion) -> str:
        return (
            f"{_time(deleted.at)} deleted: account={deleted.account!r} peer={deleted.address}"
            f"{_node(self.nodes.get(deleted.number, ''))}"
            f" unique_id={deleted.unique_id} octets={deleted.octets} session={deleted.session}"
        )

    def _not_deleted(self, session: PastSession, client: _Known) -> None:
        marked = session.commands["DELE"]
        text = (
            f"{_capital(str(client))} marked {_messages(marked)} as deleted, but the session ended"
            f" without QUIT ({session.ended}), so nothing was deleted (RFC 1939 §6). It is likely"
            " that it fetches them again."
        )
        self.findings.append(
            Finding("not deleted", session.until, text, (_session_line(session),), (),
                    client.number, session.session)
        )  # fmt: skip

    def _refused(self, refused: RefusedLogin, since: float | None) -> None:
        times = "A login was" if refused.times == 1 else f"{refused.times} logins were"
        if since is not None and refused.since < since and refused.times > 1:
            # Of those that are one row it is known when the first and the last was.
            times = "A login was" if refused.times == 2 else "At least 1 login was"
        why = (
            "without a look at the password, because of too many failures before"
            if refused.reason == "held off"
            else "as the password or the name was wrong, or the account may not log in so"
        )
        text = f"{times} refused to {refused.address} by {refused.mechanism}, {why}."
        line = (
            f"{_time(refused.until)} login {refused.reason}: account={refused.account!r}"
            f" peer={refused.address} mechanism={refused.mechanism}"
        )
        self.findings.append(Finding("refused", refused.until, text, (line,)))

    # Mail that didn't come in

    def _mail(self, since: float | None, is_for: Callable[[str], bool]) -> None:
        """Tell of mail for the account that was refused, or could not be delivered."""
        known = self.history.addressed(
            [*(self.history.listed(self.listings[0]) if self.listings else ()),
             *(unique_id for each in self.listings for unique_id, _ in each.come or ())]
        )  # fmt: skip
        known = {address.lower() for address in known}
        alike: dict[tuple[str, str], list[PastDelivery]] = defaultdict(list)
        for outcome in ("refused", "not delivered"):
            for each in self.history.deliveries(outcome=outcome, since=since, limit=MAX_ROWS)[::-1]:
                if each.recipient.lower() in known or (each.recipient and is_for(each.recipient)):
                    code = " ".join(each.reason.split()[:2]) if outcome == "refused" else ""
                    alike[outcome, code].append(each)
        for (outcome, _), mail in alike.items():
            kind: Kind = "mail refused" if outcome == "refused" else "mail not delivered"
            lines = _first(map(_mail_line, mail))
            self.findings.append(
                Finding(kind, mail[-1].at, _mail_words(outcome, mail), tuple(lines))
            )


# Words


def _mail_words(outcome: str, mail: Sequence[PastDelivery]) -> str:
    """mail: that had the same outcome, the newest last."""
    number, last = len(mail), mail[-1]
    if outcome == "refused":
        what = f"{_messages(number)} for it {'was' if number == 1 else 'were'} refused"
    else:
        what = f"{_messages(number)} for it could not be delivered"
    when = "" if number == 1 else f" between {_time(mail[0].at)} and {_time(last.at)}"
    text = f"{what}{when}, as {last.reason!r}."
    if outcome == "refused" and last.reason.startswith("4"):
        text += " Whoever sends it is to try again later, and each try counts here."
    elif outcome == "refused":
        text += " Whoever sent it was told so, and need not try again."
    return text


def _described(known: _Known, there: Mapping[str, None], since: float | None) -> Client:
    begin = float("-inf") if since is None else since
    last = known.last
    sessions = [each for each in known.sessions if each.until >= begin]
    # Of polls that are one row it is known when the first and the last was.
    cut = [each.times > 1 and each.since < begin for each in sessions]
    sessions = [
        replace(each, times=1, since=each.until) if is_cut else each
        for each, is_cut in zip(sessions, cut, strict=True)
    ]
    fetched = tuple(each for each, sent in known.fetched.items() if sent.at >= begin)
    refetched = tuple(each for each, at in known.refetched.items() if at >= begin)
    deleted = tuple(each for each, at in known.deleted.items() if at >= begin)
    left = tuple(each for each in fetched if each in there)
    missing = tuple(each for each in there if each not in known.fetched)
    number = sum(each.times for each in sessions)
    without_tls = sum(each.times for each in sessions if not each.tls)
    if without_tls in (0, number):
        how = f"{'without' if without_tls else 'inside'} TLS"
    else:
        how = f"in {without_tls} of {number} sessions without TLS"
    later = dict.fromkeys(
        verb for each in sessions for verb in each.commands if verb not in each.greeting.split()
    )
    text = (
        f"Logs in by {last.mechanism}, {how}. It says"
        f" {last.greeting or 'nothing'} first, and then {' '.join(later) or 'nothing'}."
        f" {'At least ' if any(cut) else ''}{number} {'session' if number == 1 else 'sessions'}"
        f" from {_time(sessions[0].since)} to {_time(last.until)}."
        f" It fetched {_messages(len(fetched))}"
    )
    if refetched:
        text += f" ({len(refetched)} of them again)"
    text += f", deleted {len(deleted)}, left {len(left)}."
    if missing:
        text += f" {_capital(_messages(len(missing)))} on the server it has never fetched."
    if len(fetched) > 1 and not known.deleted:
        text += " It leaves messages on the server."
    return Client(
        known.number, last.account, last.address, not without_tls, without_tls, last.mechanism,
        last.greeting, text, tuple(map(_session_words, sessions[-SHOWN:])), left, missing, deleted,
        refetched,
    )  # fmt: skip


def _session_words(session: PastSession) -> str:
    how = "" if session.tls else "without TLS, "
    which = f"{session.session} on {session.node}" if session.node else session.session
    words = f"{_time(session.since)} {which}: {how}{_messages(session.messages)} there,"
    if session.times > 1:
        return f"{words} nothing new in {session.times} polls up to {_time(session.until)}"
    return (
        f"{words} {session.retrieved} fetched ({session.octets} octets), {session.deleted} deleted,"
        f" ended by {session.ended}"
    )


def _report(found: Explanation) -> str:
    whose = "" if found.maildrop == found.account else f", maildrop {found.maildrop}"
    if found.begins is None:
        return f"Account {found.account}{whose}: there is no history yet.\n"
    lines = [f"Account {found.account}{whose}. The history begins at {_time(found.begins)}.", ""]
    if found.since is not None:
        lines[0] += f" This is what happened from {_time(found.since)} on."
    if not found.clients:
        lines.append("No session of it has ended since then.")
    for client in found.clients:
        lines += [f"Client {client.number}, {client.address}", *_wrapped(client.text)]
        lines += [f"  | {line}" for line in client.sessions]
        lines.append("")
    if not found.findings and found.clients:
        lines.append("Nothing unusual has happened.")
    for finding in found.findings:
        lines += [_time(finding.at), *_wrapped(finding.text)]
        lines += [f"  | {line}" for line in finding.lines]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _wrapped(text: str) -> list[str]:
    lines, line = [], " "
    for word in text.split():
        if len(line) + len(word) > 98 and line.strip():
            lines.append(line)
            line = " "
        line += f" {word}"
    return [*lines, line]


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S}"


def _messages(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"


def _them(several: Sequence[str] | Mapping[str, int]) -> str:
    return "it" if len(several) == 1 else "them"


def _it(several: Mapping[str, int]) -> str:
    return "it" if len(several) == 1 else "they"


def _some(number: int, of: Sequence[str]) -> str:
    """So many of those that were told of just before."""
    if number == len(of):
        return "it" if number == 1 else "them" if number < 3 else f"all {number}"
    return f"{number} of them"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# Lines


def _first(lines: Iterable[str]) -> list[str]:
    found = list(lines)
    more = len(found) - SHOWN
    return found if more <= 0 else [*found[:SHOWN], f"    … and {more} more"]


def _id_lines(word: str, messages: Iterable[tuple[str, int]]) -> list[str]:
    return _first(f"    {word}: unique_id={each} octets={octets}" for each, octets in messages)


def _listing_line(listing: PastListing) -> str:
    return (
        f"{_time(listing.at)} listed: messages={listing.messages} octets={listing.octets}"
        f" come={len(listing.come or ())} gone={len(listing.gone or ())} session={listing.session}"
    )


def _session_line(session: PastSession) -> str:
    return (
        f"{_time(session.until)} session: account={session.account!r} peer={session.address}"
        f"{_node(session.node)} retrieved={session.retrieved} deleted={session.deleted}"
        f" octets={session.octets} ended={session.ended!r} session={session.session}"
    )


def _mail_line(mail: PastDelivery) -> str:
    return (
        f"{_time(mail.at)} {mail.outcome}: recipient={mail.recipient!r} sender={mail.sender!r}"
        f" peer={mail.peer} protocol={mail.protocol}"
        f"{f' queue={mail.queue_id}' if mail.queue_id else ''}"
        f" {'reply' if mail.outcome == 'refused' else 'reason'}={mail.reason!r}"
    )


def _node(node: str) -> str:
    return f" node={node!r}" if node else ""


def _named_at(unique_id: str) -> float | None:
    """The time of delivery that a file's name begins with; None where it is no such name."""
    found = _FILE_NAME.match(unique_id)
    return float(found[1]) if found else None


def _pairs(gone: Mapping[str, int], come: Mapping[str, int]) -> list[tuple[str, str]]:
    """What has gone and what has come with the same size, in their order."""
    by_size: dict[int, deque[str]] = defaultdict(deque)
    for unique_id, octets in gone.items():
        by_size[octets].append(unique_id)
    return [
        (by_size[octets].popleft(), unique_id)
        for unique_id, octets in come.items()
        if by_size.get(octets)
    ]
