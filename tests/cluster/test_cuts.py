"""Nodes are cut off from the database or from the bodies: no mail is lost, none comes twice."""

from __future__ import annotations

import asyncio
import os
import poplib
import random
import smtplib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TypeVar

import pytest

from tests.app.support import wait_until
from tests.cluster.clients import Clients, log_in
from tests.cluster.networks import Place, places
from tests.cluster.nodes import Node, deliver, running
from tests.conftest import Authority
from tests.needs import only_cpython
from tests.ports import free_port
from tests.postgres_server import postgres
from tests.stores.blobs.faulty import Fault, Faulty, Forward, Reply, Request, answer, faulty, honest
from tests.stores.blobs.radosgw import Radosgw

T = TypeVar("T")

pytestmark = [only_cpython, pytest.mark.peer, pytest.mark.slow]

CUTS = int(os.environ.get("RESTANTE_CUTS", "4"))
"""How many times nodes are cut off."""


BUCKET = """
[store.bodies]
kind = "s3"
[store.bodies.s3]
endpoint = "http://{host}:{port}"
bucket = "{bucket}"
access_key = "{user.access_key}"
secret_key = "{user.secret_key}"
timeout = 3
"""


@contextmanager
def nodes_in(
    apart: Sequence[Place],
    folder: Path,
    authority: Authority,
    bodies: Callable[[Place], str] | None = None,
) -> Iterator[list[Node]]:
    """Nodes, each in its network, over one database and one folder of bodies.

    bodies: the configuration of what is there in place of the folder.
    """
    shared = f'[store.bodies]\nkind = "folder"\n[store.bodies.folder]\npath = "{folder / "bodies"}"'
    networks = [f"{place.database}/30" for place in apart]
    with postgres(authority.certificate.files()[0], networks) as server:
        nodes = [
            Node(
                folder, f"n{number}", host=place.address, place=place, schema="restante",
                dsn=server.dsn.replace("localhost", place.database),
                bodies=bodies(place) if bodies else shared,
            )
            for number, place in enumerate(apart, 1)
        ]  # fmt: skip
        with running(nodes):
            yield nodes


@contextmanager
def bucket_for(
    apart: Sequence[Place], server: Radosgw
) -> Iterator[tuple[Callable[[Place], str], Faulty]]:
    """A bucket that is reached by way of a proxy: its configuration, and the proxy."""
    port, bucket = free_port(), server.make_bucket()
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()

    def run(work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), loop).result(60)

    made = faulty(server.endpoint, hosts=[place.objects for place in apart], port=port)
    try:
        proxy = run(made.__aenter__())
        try:
            yield (
                lambda place: BUCKET.format(
                    host=place.objects, port=port, bucket=bucket, user=server.user
                ),
                proxy,
            )
        finally:
            run(made.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_session_that_was_cut_off_removes_nothing_any_more(
    tmp_path: Path, authority: Authority
) -> None:
    with places(2) as apart, nodes_in(apart, tmp_path, authority) as (one, two):
        deliver(one.host, one.lmtp, "user0", "letter")
        session = log_in(one.host, one.pop3, "user0")
        session.dele(1)
        with pytest.raises(poplib.error_proto, match="IN-USE"):
            log_in(two.host, two.pop3, "user0")
        one.place.cut()
        # The lease ends; the other node takes the maildrop over, and nothing is missing.
        began = time.monotonic()

        def taken_over() -> poplib.POP3 | None:
            try:
                return log_in(two.host, two.pop3, "user0")
            except poplib.error_proto as error:
                if b"[IN-USE]" in error.args[0]:
                    return None
                raise

        other = wait_until(taken_over, "the end of the lease")
        assert time.monotonic() - began < 60, "a lease of 5 seconds"
        assert other.stat()[0] == 1
        with pytest.raises(poplib.error_proto, match=r"SYS/TEMP"):
            log_in(one.host, one.pop3, "user1")
        with pytest.raises(smtplib.SMTPException, match="451"):
            deliver(one.host, one.lmtp, "user0", "later")
        one.place.heal()
        with pytest.raises(poplib.error_proto, match=r"SYS/TEMP"):
            session.quit()
        session.close()
        other.quit()

        def works() -> bool:
            try:
                log_in(one.host, one.pop3, "user0").quit()
            except poplib.error_proto:
                return False
            return True

        wait_until(works, "the node that was cut off, without a restart")
        left = log_in(two.host, two.pop3, "user0")
        assert left.stat()[0] == 1
        left.quit()


def test_what_clients_were_told_outlasts_cuts(tmp_path: Path, authority: Authority) -> None:
    with places(3) as apart, nodes_in(apart, tmp_path, authority) as nodes:
        chance, choice = random.Random(CUTS), random.Random(3)

        with Clients(lambda: choice.choice(nodes).ports) as clients:
            for _ in range(CUTS):
                clients.wait_for(chance.randrange(6))
                cut = chance.sample(nodes, chance.choice((1, 1, 2)))
                for node in cut:
                    node.place.cut()
                time.sleep(chance.uniform(0.1, 9))  # shorter and longer than a lease
                for node in cut:
                    node.place.heal()
            clients.wait_for(5)
        clients.settle()
        assert min(clients.done[what] for what in ("deliveries", "sessions", "removed")) > CUTS


# The bodies


async def overloaded(_: Request, __: Forward) -> Reply:
    return answer(503, "SlowDown")


async def silent(_: Request, __: Forward) -> None:
    await asyncio.Event().wait()


async def slow(_: Request, forward: Forward) -> Reply:
    await asyncio.sleep(random.uniform(0.1, 0.8))
    return await forward()


async def broken(_: Request, forward: Forward) -> Reply | None:
    """Some answers are cut off, and some never come."""
    reply = await forward()
    return reply._replace(short=random.choice((0, len(reply.body) // 2, None)))


def test_without_bodies_lists_work_and_nothing_is_lost(
    tmp_path: Path, authority: Authority, radosgw: Radosgw
) -> None:
    with (
        places(2) as apart,
        bucket_for(apart, radosgw) as (bucket, proxy),
        nodes_in(apart, tmp_path, authority, bucket) as (one, two),
    ):
        for text in ("first", "second"):
            deliver(one.host, one.lmtp, "user0", text)
        session = log_in(one.host, one.pop3, "user0")
        listed = session.uidl()[1]

        def works_without_bodies(node: Node) -> None:
            assert session.stat()[0] == 2
            assert session.uidl()[1] == listed
            assert len(session.list()[1]) == 2
            with pytest.raises(poplib.error_proto, match=r"SYS/TEMP"):
                session.retr(1)
            with pytest.raises(poplib.error_proto, match=r"SYS/TEMP"):
                session.top(2, 0)
            with pytest.raises(smtplib.SMTPException, match="451"):
                deliver(node.host, node.lmtp, "user1", "not now")
            other = log_in(node.host, node.pop3, "user1")
            assert other.stat() == (0, 0)
            other.quit()

        one.place.cut("objects")
        works_without_bodies(one)
        deliver(two.host, two.lmtp, "user2", "elsewhere")  # which isn't cut off
        one.place.heal("objects")
        # The same session goes on; a connection that was lost in the cut costs a try at most.
        assert wait_until(lambda: fetched(session, 1), "the bodies") == b"Subject: first"
        proxy.fault = overloaded
        works_without_bodies(one)
        proxy.fault = slow
        assert fetched(session, 2) == b"Subject: second"
        deliver(one.host, one.lmtp, "user1", "slow")
        proxy.fault = honest
        session.dele(1)
        session.quit()
        for account, subject in ("user0", b"second"), ("user1", b"slow"), ("user2", b"elsewhere"):
            left = log_in(two.host, two.pop3, account)
            assert left.stat()[0] == 1
            assert left.retr(1)[1][0] == b"Subject: " + subject
            left.quit()
        for node in (one, two):
            node.stop()


def fetched(session: poplib.POP3, number: int) -> bytes:
    """A message's first line; nothing while there is an error that passes."""
    try:
        line: bytes = session.retr(number)[1][0]
    except poplib.error_proto as error:
        if b"[SYS/TEMP]" in error.args[0]:
            return b""
        raise
    return line


def test_what_clients_were_told_outlasts_faults_of_the_object_store(
    tmp_path: Path, authority: Authority, radosgw: Radosgw
) -> None:
    with (
        places(3) as apart,
        bucket_for(apart, radosgw) as (bucket, proxy),
        nodes_in(apart, tmp_path, authority, bucket) as nodes,
    ):
        chance, choice = random.Random(CUTS), random.Random(5)
        faults: list[Fault | None] = [None, overloaded, silent, slow, broken]

        with Clients(lambda: choice.choice(nodes).ports) as clients:
            for number in range(max(CUTS, len(faults))):
                clients.wait_for(chance.randrange(1, 6))
                fault = faults[number % len(faults)]
                cut = chance.sample(apart, 2) if fault is None else []
                for place in cut:
                    place.cut("objects")
                proxy.fault = fault or honest
                time.sleep(chance.uniform(0.5, 6))  # shorter and longer than a request may take
                for place in cut:
                    place.heal("objects")
                proxy.fault = honest
            clients.wait_for(5)
        clients.settle()
        assert min(clients.done[what] for what in ("deliveries", "sessions", "removed")) > CUTS
        assert any("451" in each for each in clients.errors)
        assert any("SYS/TEMP" in each for each in clients.errors)
        for node in nodes:
            node.stop()
