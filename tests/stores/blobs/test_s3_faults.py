"""What S3 servers and the network between do, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from restante.stores.blobs import s3
from restante.stores.blobs.cached import CachedBlobs
from restante.stores.blobs.compression import compressed, decoded
from restante.stores.blobs.contract import BlobDamaged, BlobMissing
from restante.stores.blobs.s3 import FIRST_BLOCK, PART, S3Blobs
from restante.stores.contract import StoreError
from restante.testing.contracts.blobs import Octets
from tests.conftest import Authority
from tests.needs import only_cpython
from tests.ports import free_port
from tests.stores.blobs.faulty import Fault, Faulty, Forward, Reply, Request, answer, faulty, honest
from tests.stores.blobs.radosgw import Radosgw

pytestmark = only_cpython

BODY = Octets.part(0, 300_000)
LARGE = Octets(PART * 2 + 1000)

Work = Callable[[S3Blobs, Faulty], Awaitable[object]]


@pytest.fixture(scope="module")
def bucket(radosgw: Radosgw) -> str:
    return radosgw.make_bucket()


class Place:
    """Runs a test's work over a bucket behind a faulty proxy."""

    def __init__(self, server: Radosgw, bucket: str) -> None:
        self.server, self.bucket = server, bucket

    def settings(self, **others: Any) -> dict[str, Any]:
        return {
            "endpoint": self.server.endpoint,
            "access_key": self.server.user.access_key,
            "secret_key": self.server.user.secret_key,
            "timeout": 3.0,
        } | others

    @asynccontextmanager
    async def blobs(self, bucket: str = "", **others: Any) -> AsyncIterator[S3Blobs]:
        blobs = S3Blobs(bucket or self.bucket, **self.settings(**others))
        try:
            yield blobs
        finally:
            await blobs.aclose()

    def run(self, work: Work, **others: Any) -> None:
        async def running() -> None:
            async with (
                faulty(self.server.endpoint) as proxy,
                self.blobs(endpoint=proxy.endpoint, **others) as blobs,
            ):
                await work(blobs, proxy)

        asyncio.run(asyncio.wait_for(running(), 60))


@pytest.fixture
def place(radosgw: Radosgw, bucket: str) -> Place:
    return Place(radosgw, bucket)


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """Another one for each test."""
    return sha256(request.node.nodeid.encode()).hexdigest()


async def put(blobs: S3Blobs, key: str, body: bytes = BODY) -> None:
    await blobs.put(key, BytesIO(body), len(body))


async def put_large(blobs: S3Blobs, key: str, source: Octets = LARGE) -> None:
    await blobs.put(key, cast("BinaryIO", source), source.octets)


async def read(blobs: S3Blobs, key: str, start: int = 0, end: int | None = None) -> bytes:
    async with aclosing(blobs.read(key, start, end)) as blocks:
        return b"".join([block async for block in blocks])


async def digest(blobs: S3Blobs, key: str) -> str:
    return sha256(await read(blobs, key)).hexdigest()


def at_first(count: int, fault: Fault, *methods: str) -> Fault:
    """The first so many requests (of these methods) go wrong so."""

    async def some(request: Request, forward: Forward) -> Reply | None:
        if request.before < count and (not methods or request.method in methods):
            return await fault(request, forward)
        return await forward()

    return some


async def overloaded(_: Request, __: Forward) -> Reply:
    return answer(503, "SlowDown")


async def internal(_: Request, __: Forward) -> Reply:
    return answer(500, "InternalError")


async def closed(_: Request, __: Forward) -> None:
    return None


async def silent(_: Request, __: Forward) -> None:
    await asyncio.Event().wait()


async def lost(_: Request, forward: Forward) -> None:
    """It is done, and the answer doesn't come."""
    await forward()


async def cut(_: Request, forward: Forward) -> Reply:
    reply = await forward()
    return reply._replace(short=len(reply.body) // 2)


async def too_late(_: Request, __: Forward) -> Reply:
    return answer(404, "NoSuchKey")


# Without a fault


def test_a_message_of_usual_size_takes_one_request_for_each_thing(place: Place, key: str) -> None:
    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        body = Octets.part(0, 30_000)
        await put(blobs, key[::-1], body)  # the first one looks at the bucket, too
        proxy.methods()
        await put(blobs, key, body)
        assert proxy.methods() == ["PUT"]
        assert await read(blobs, key, 0, len(body)) == body
        assert proxy.methods() == ["GET"]
        await blobs.remove(key)
        assert proxy.methods() == ["DELETE"]

    place.run(work)


# What passes by itself


@pytest.mark.parametrize("fault", [overloaded, internal, closed, silent, lost, cut])
def test_a_fault_that_passes_is_not_noticed(place: Place, key: str, fault: Fault) -> None:
    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        proxy.fault = at_first(1, fault)
        await put(blobs, key)
        assert "PUT" in proxy.methods()
        assert await read(blobs, key) == BODY
        assert len(proxy.methods()) > len(BODY) // s3.LARGEST_BLOCK + 1
        await blobs.remove(key)
        proxy.fault = honest
        with pytest.raises(BlobMissing):
            await read(blobs, key)

    place.run(work, timeout=6.0)


@pytest.mark.parametrize("fault", [overloaded, closed, lost, cut])
def test_nor_with_a_large_one(place: Place, key: str, fault: Fault) -> None:
    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        proxy.fault = at_first(1, fault)
        await put_large(blobs, key)
        assert {"POST", "PUT", "HEAD"} <= set(proxy.methods())
        assert await digest(blobs, key) == LARGE.digest()
        await blobs.remove(key)

    place.run(work)


def test_a_blob_that_is_only_late_is_waited_for(place: Place, key: str) -> None:
    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        await put(blobs, key)
        proxy.fault = at_first(3, too_late, "GET")
        assert await read(blobs, key) == BODY
        proxy.methods()
        proxy.fault = at_first(3, too_late, "HEAD")
        assert await read(blobs, key, 5, 5) == b""

    place.run(work)


def test_but_not_for_ever(place: Place, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        await put(blobs, key)
        proxy.fault = too_late
        with pytest.raises(BlobMissing) as caught:
            await read(blobs, key)
        assert caught.value.temporary
        assert len(proxy.methods()) > 1

    monkeypatch.setattr(s3, "LATE_SECONDS", 0.3)
    place.run(work)


def test_a_conflict_with_another_put_is_not_taken_for_success(place: Place, key: str) -> None:
    async def conflict(_: Request, __: Forward) -> Reply:
        return answer(409, "ConditionalRequestConflict")

    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        proxy.fault = at_first(2, conflict, "PUT")
        await put(blobs, key)
        proxy.fault = honest
        assert await read(blobs, key) == BODY
        proxy.fault = conflict
        with pytest.raises(StoreError, match="409"):
            await put(blobs, f"{key}-2")

    place.run(work)


# What lasts


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (overloaded, "503"),
        (internal, "500"),
        (closed, "the connection failed"),
        (silent, "doesn't answer in time"),
    ],
)
@pytest.mark.parametrize("octets", [1000, LARGE.octets])
def test_a_fault_that_lasts_is_a_temporary_error_in_bounded_time(
    place: Place, key: str, fault: Fault, told: str, octets: int
) -> None:
    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        await put(blobs, f"{key}-there")
        proxy.fault = fault
        wanted: list[Callable[[], Awaitable[object]]] = [
            lambda: put_large(blobs, key, Octets(octets)),
            lambda: read(blobs, f"{key}-there"),
            lambda: blobs.remove(f"{key}-there"),
        ]
        for each in wanted:
            began = time.monotonic()
            with pytest.raises(StoreError, match=told) as caught:
                await each()
            assert caught.value.temporary
            assert time.monotonic() - began < 20  # against what hangs: it may take 1.5
        proxy.fault = honest
        assert await read(blobs, f"{key}-there") == BODY

    place.run(work, timeout=1.5)


def test_no_room_is_told_and_mail_that_is_there_can_be_read(place: Place, key: str) -> None:
    async def full(request: Request, forward: Forward) -> Reply:
        writes = request.method in ("PUT", "POST")
        return answer(403, "QuotaExceeded") if writes else await forward()

    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        await put(blobs, f"{key}-there")
        proxy.fault = full
        for octets in 1000, LARGE.octets:
            with pytest.raises(StoreError, match="may hold no more") as caught:
                await put_large(blobs, key, Octets(octets))
            assert caught.value.temporary
        assert await read(blobs, f"{key}-there") == BODY
        proxy.fault = honest
        await put_large(blobs, key)
        assert await digest(blobs, key) == LARGE.digest()

    place.run(work)


def test_when_it_is_back_all_goes_on(place: Place, key: str) -> None:
    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        proxy.fault = closed
        with pytest.raises(StoreError):
            await put(blobs, key)
        proxy.fault = honest
        await put(blobs, key)
        assert await read(blobs, key) == BODY

    place.run(work, timeout=1.0)


def test_a_large_upload_that_fails_leaves_no_blob(place: Place, key: str) -> None:
    async def no_end(request: Request, forward: Forward) -> Reply:
        if request.method == "POST" and "uploadId" in request.target:
            return answer(500, "InternalError")
        return await forward()

    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        proxy.fault = no_end
        with pytest.raises(StoreError, match="500"):
            await put_large(blobs, key)
        proxy.fault = honest
        with pytest.raises(BlobMissing):
            await read(blobs, key)
        await put_large(blobs, key)
        assert await digest(blobs, key) == LARGE.digest()

    place.run(work, timeout=2.0)


def test_an_upload_whose_last_answer_is_lost_is_there(place: Place, key: str) -> None:
    async def last_is_lost(request: Request, forward: Forward) -> Reply | None:
        reply = await forward()
        ends = request.method == "POST" and "uploadId" in request.target
        return None if ends else reply

    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        proxy.fault = last_is_lost
        await put_large(blobs, key)
        proxy.fault = honest
        assert await digest(blobs, key) == LARGE.digest()

    place.run(work)


def test_an_upload_that_is_cancelled_leaves_no_blob(place: Place, key: str) -> None:
    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        begun = asyncio.Event()

        async def slow(request: Request, forward: Forward) -> Reply:
            if request.method == "PUT":
                begun.set()
                await asyncio.sleep(0.2)
            return await forward()

        proxy.fault = slow
        putting = asyncio.ensure_future(put_large(blobs, key))
        await begun.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        proxy.fault = honest
        with pytest.raises(BlobMissing):
            await read(blobs, key)
        await put_large(blobs, key)
        assert await digest(blobs, key) == LARGE.digest()

    place.run(work)


# Octets


async def damaged(request: Request, forward: Forward) -> Reply:
    reply = await forward()
    if request.method != "GET":
        return reply
    body = bytearray(reply.body)
    body[len(body) // 2] ^= 0xFF
    return reply._replace(body=bytes(body))


def test_octets_that_come_over_damaged_are_asked_for_again(place: Place, key: str) -> None:
    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        await put(blobs, key, BODY[:FIRST_BLOCK])
        proxy.fault = at_first(2, damaged, "GET")
        assert await read(blobs, key) == BODY[:FIRST_BLOCK]
        assert proxy.methods().count("GET") == 3

    place.run(work)


@pytest.mark.parametrize("octets", [1, 1000, FIRST_BLOCK + 1, 4 * FIRST_BLOCK])
def test_damage_that_stays_is_told_before_the_last_block(
    place: Place, key: str, octets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = Octets.part(0, octets)

    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        await put(blobs, key, body)
        proxy.fault = damaged
        blocks, got = blobs.read(key), 0
        while got < octets:
            try:
                got += len(await anext(blocks))
            except BlobDamaged:
                return
        pytest.fail("it was given as whole")

    monkeypatch.setattr(s3, "LATE_SECONDS", 0.1)
    place.run(work)


def test_a_cache_keeps_nothing_damaged(place: Place, key: str, tmp_path: Path) -> None:
    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        cached = CachedBlobs(blobs, tmp_path, 2**24)
        await put(blobs, key)
        proxy.fault = damaged
        with pytest.raises(BlobDamaged):
            [block async for block in cached.read(key)]
        proxy.fault = honest
        for _ in range(2):
            assert b"".join([block async for block in cached.read(key)]) == BODY
        assert cached.file_of(key).exists()
        await cached.aclose()

    place.run(work)


def test_damage_of_large_ones_is_found_where_the_body_is_decoded(place: Place, key: str) -> None:
    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        packed = compressed(cast("BinaryIO", LARGE), encoding="zstd")
        with packed.file:
            blob = packed.file.read()
        source = BytesIO(blob + bytes(PART))  # and what follows is never read
        await blobs.put(key, source, len(blob) + PART)
        proxy.fault = damaged
        with pytest.raises(BlobDamaged):
            [block async for block in decoded(blobs.read(key, 0, len(blob)), "zstd")]

    place.run(work)


def test_other_octets_than_were_asked_for_are_refused(place: Place, key: str) -> None:
    async def another_range(_: Request, forward: Forward) -> Reply:
        return (await forward()).with_header("Content-Range", "bytes 7-131078/300000")

    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        await put(blobs, key)
        proxy.fault = another_range
        with pytest.raises(StoreError):
            await read(blobs, key)

    place.run(work)


def test_a_blob_that_is_replaced_meanwhile_is_not_mixed(place: Place, key: str) -> None:
    async def work(blobs: S3Blobs, _: Faulty) -> None:
        await put(blobs, key)
        async with aclosing(blobs.read(key)) as blocks:
            first = await anext(blocks)
            assert first == BODY[: len(first)]
            await blobs.remove(key)
            await put(blobs, key, BODY[::-1])
            with pytest.raises(StoreError, match="was replaced while it was read"):
                await anext(blocks)

    place.run(work)


def test_a_blob_that_is_removed_meanwhile_is_missing(place: Place, key: str) -> None:
    async def work(blobs: S3Blobs, _: Faulty) -> None:
        await put(blobs, key)
        async with aclosing(blobs.read(key)) as blocks:
            await anext(blocks)
            await blobs.remove(key)
            with pytest.raises(BlobMissing):
                await anext(blocks)

    place.run(work)


# How much is asked for


def test_most_messages_take_one_request(place: Place, key: str) -> None:
    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        await put(blobs, key, BODY[:FIRST_BLOCK])
        assert proxy.methods() == ["PUT"]
        await read(blobs, key)
        assert proxy.methods() == ["GET"]
        await blobs.remove(key)
        assert proxy.methods() == ["DELETE"]
        await put(blobs, key)
        proxy.methods()
        await read(blobs, key, 1000, 300_000)
        assert proxy.methods() == ["GET"]

    place.run(work)


def test_who_reads_the_beginning_of_a_large_one_moves_little(place: Place, key: str) -> None:
    source = Octets(50 * 1024 * 1024)

    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        async with place.blobs() as direct:
            await put_large(direct, key, source)
        async with aclosing(blobs.read(key)) as blocks:
            assert await anext(blocks) == source.part(0, FIRST_BLOCK)
        assert proxy.methods() == ["GET"]
        assert proxy.octets == FIRST_BLOCK
        await blobs.remove(key)

    place.run(work)


# What prepare finds


@pytest.fixture
def refused(place: Place) -> Callable[..., str]:
    """What `prepare` says of a bucket behind a fault."""

    def told(fault: Fault = honest, bucket: str = "", **others: Any) -> str:
        async def preparing() -> str:
            async with faulty(place.server.endpoint) as proxy:
                proxy.fault = fault
                settings = {"endpoint": proxy.endpoint} | others
                async with place.blobs(bucket, **settings) as blobs:
                    with pytest.raises(StoreError) as caught:
                        await blobs.prepare()
            assert caught.value.temporary
            return str(caught.value)

        return asyncio.run(asyncio.wait_for(preparing(), 60))

    return told


def test_a_good_bucket_is_left_as_it_was(place: Place, radosgw: Radosgw) -> None:
    bucket = radosgw.make_bucket()

    async def preparing() -> None:
        async with place.blobs(bucket, prefix="a/b") as blobs:
            await blobs.prepare()

    asyncio.run(preparing())
    assert radosgw.keys(bucket) == []


def test_a_bucket_that_is_not_there(refused: Callable[..., str]) -> None:
    assert "404 NoSuchBucket (there is no such bucket; make it, or correct its name)" in refused(
        bucket="no-such-bucket"
    )


def test_wrong_keys(refused: Callable[..., str]) -> None:
    told = refused(secret_key="wrong")
    assert "403 SignatureDoesNotMatch (the secret key isn't that of the access key)" in told
    told = refused(access_key="WRONG")
    assert "403 InvalidAccessKeyId (it doesn't know the access key)" in told


def test_no_rights(refused: Callable[..., str], radosgw: Radosgw) -> None:
    other = {"access_key": radosgw.other.access_key, "secret_key": radosgw.other.secret_key}
    told = refused(**other)
    assert "403 AccessDenied (the access key has no right to do this; blobs need s3:Get" in told
    bucket = radosgw.make_bucket()
    radosgw.allow(bucket, "s3:GetObject", "s3:PutObject")
    assert "403 AccessDenied" in refused(bucket=bucket, **other)


def test_what_is_missing_must_be_told_from_what_is_forbidden(
    refused: Callable[..., str], radosgw: Radosgw
) -> None:
    bucket = radosgw.make_bucket()
    radosgw.allow(bucket, "s3:GetObject", "s3:PutObject", "s3:DeleteObject")
    other = {"access_key": radosgw.other.access_key, "secret_key": radosgw.other.secret_key}
    assert "give the access key the right s3:ListBucket" in refused(bucket=bucket, **other)


def test_a_bucket_that_keeps_versions(refused: Callable[..., str], radosgw: Radosgw) -> None:
    bucket = radosgw.make_bucket()
    radosgw.version_bucket(bucket)
    assert "the bucket keeps versions, so what is removed would stay" in refused(bucket=bucket)


def test_a_server_that_ignores_conditional_writes(
    refused: Callable[..., str], radosgw: Radosgw
) -> None:
    async def ignoring(_: Request, forward: Forward) -> Reply:
        reply = await forward()
        if reply.status != 412:
            return reply
        return answer(200, "OK", " ").with_header("ETag", '"abc"')

    bucket = radosgw.make_bucket()
    told = refused(ignoring, bucket)
    assert "it ignores conditional writes (If-None-Match), so blobs could be overwritten" in told
    assert radosgw.keys(bucket) == []


def test_a_server_that_does_not_know_conditional_writes(refused: Callable[..., str]) -> None:
    async def unknowing(request: Request, forward: Forward) -> Reply:
        if request.header("if-none-match"):
            return answer(501, "NotImplemented")
        return await forward()

    assert "501 NotImplemented (it can't do what blobs need)" in refused(unknowing, timeout=1.0)


def test_a_server_whose_removed_objects_stay(refused: Callable[..., str]) -> None:
    async def keeping(request: Request, forward: Forward) -> Reply:
        return answer(200, "OK", " ") if request.method == "DELETE" else await forward()

    assert "what was removed is still there" in refused(keeping)


def test_something_that_changes_what_is_read(refused: Callable[..., str]) -> None:
    async def changing(request: Request, forward: Forward) -> Reply:
        reply = await forward()
        return reply._replace(body=b"x") if request.method == "GET" else reply

    assert "what is read isn't what was written" in refused(changing)


def test_an_endpoint_where_nobody_listens(refused: Callable[..., str]) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    assert "nobody listens there" in refused(endpoint=endpoint, timeout=1.0)


def test_an_endpoint_that_is_something_else(refused: Callable[..., str]) -> None:
    async def a_page(_: Request, __: Forward) -> Reply:
        return answer(200, "OK", "<html>Welcome!</html>")

    async def elsewhere(_: Request, __: Forward) -> Reply:
        return answer(301, "PermanentRedirect")

    async def a_404(_: Request, __: Forward) -> Reply:
        return answer(404, "Not Found", "<html>Not here.</html>")

    assert "S3 at http://127.0.0.1:" in refused(a_page)
    assert "the bucket is in another region" in refused(elsewhere)
    assert "404 to a write; is there such a bucket, and an S3 server?" in refused(a_404)


def test_clocks_that_differ(refused: Callable[..., str]) -> None:
    async def skewed(_: Request, __: Forward) -> Reply:
        return answer(403, "RequestTimeTooSkewed")

    assert "the clocks of this machine and of the server differ" in refused(skewed)


# TLS


def test_tls_with_an_authority_of_ones_own(
    place: Place, key: str, authority: Authority, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate.files()[0])

    async def running() -> None:
        async with faulty(place.server.endpoint, context) as proxy:
            trusting = place.blobs(endpoint=proxy.endpoint, ca_file=authority.file)
            async with trusting as blobs:
                await put(blobs, key)
                assert await read(blobs, key) == BODY
            async with place.blobs(endpoint=proxy.endpoint) as blobs:
                with pytest.raises(StoreError, match="its certificate isn't trusted"):
                    await blobs.prepare()

    asyncio.run(running())


# Secrets


def test_nothing_that_is_told_has_a_key(
    place: Place, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    access, secret = place.server.user.access_key, place.server.user.secret_key

    async def telling(request: Request, _: Forward) -> Reply:
        text = f"{access} {secret} {request.header('authorization')}"
        body = f"<Error><Code>Teapot</Code><Message>{text}</Message></Error>"
        return answer(418, text, body)

    async def work(blobs: S3Blobs, proxy: Faulty) -> None:
        proxy.fault = telling
        wanted: list[Callable[[], Awaitable[object]]] = [
            lambda: put(blobs, key),
            lambda: put_large(blobs, key),
            lambda: read(blobs, key),
            blobs.prepare,
        ]
        for each in wanted:
            with pytest.raises(StoreError, match="418") as caught:
                await each()
            shown = "".join(traceback.format_exception(caught.value)) + repr(blobs)
            for hidden in (access, secret, "AWS4-HMAC"):
                assert hidden not in shown

    with caplog.at_level(logging.DEBUG):
        place.run(work, timeout=1.0)
    for hidden in (access, secret, "AWS4-HMAC"):
        assert hidden not in caplog.text
