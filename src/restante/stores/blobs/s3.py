"""Blobs as objects of a bucket: Ceph, Garage, AWS and whatever else speaks S3."""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from restante.extras import missing
from restante.stores.blobs.contract import (
    BlobDamaged,
    BlobMissing,
    Blobs,
    checked_key,
    checked_range,
)
from restante.stores.contract import StoreError

if TYPE_CHECKING:
    from obstore.store import S3Store

T = TypeVar("T")

FIRST_BLOCK = 128 * 1024
"""Octets of the first block of a blob that is read without an end: most are whole then."""

LARGEST_BLOCK = 1024 * 1024

PART = 5 * 1024 * 1024
"""Octets of a part of a large blob: the least that S3 allows. Smaller blobs are put whole."""

PARTS_AT_ONCE = 2

PUTS_AT_ONCE = 8
"""Blobs that are put at the same time; what comes then waits. It bounds the memory."""

LATE_SECONDS = 2.0
"""How long a blob that isn't there, or came over damaged, is asked for again."""

DIGEST = "sha256"
"""What the digest of an object that was put whole is called among its metadata."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]", re.ASCII)
_PREFIX = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*", re.ASCII)
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")

_HINTS = {
    "NoSuchBucket": "there is no such bucket; make it, or correct its name",
    "InvalidAccessKeyId": "it doesn't know the access key",
    "SignatureDoesNotMatch": "the secret key isn't that of the access key",
    "AccessDenied": "the access key has no right to do this; blobs need s3:GetObject,"
    " s3:PutObject and s3:DeleteObject for the objects, and s3:ListBucket for the bucket",
    "RequestTimeTooSkewed": "the clocks of this machine and of the server differ",
    "PermanentRedirect": "the bucket is in another region",
    "AuthorizationHeaderMalformed": "the bucket is in another region",
    "NotImplemented": "it can't do what blobs need",
    "QuotaExceeded": "the bucket, or its owner, may hold no more",
    "SlowDown": "it is overloaded",
}
"""What errors of S3 mean, by their code."""

_SYMPTOMS = {
    "connection refused": "nobody listens there",
    "dns error": "its name isn't known",
    "failed to lookup": "its name isn't known",
    "certificate": "its certificate isn't trusted",
    "unknownissuer": "its certificate isn't trusted",
    "timed out": "it doesn't answer in time",
    "timedout": "it doesn't answer in time",
    "without location": _HINTS["PermanentRedirect"],
}
"""What errors without an answer mean, by what is in the library's text."""


class S3Blobs(Blobs):
    """Keeps blobs as objects of the bucket `bucket`, by the protocol of S3.

    endpoint: the server's URL, `https://s3.example.org`; None: AWS.
    region: the bucket's; many servers take any.
    prefix: what the objects' keys begin with, `mail/`.
    access_key, secret_key: who we are; without them the library looks where AWS' tools look: in
        the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, then for the role of the machine.
    timeout: seconds for one request with all its repetitions: a whole blob, or of a large one a
        block of at most 1 MB or a part of 5 MB.
    ca_file: certificates (PEM) of authorities to trust beside those that are known.

    The bucket must honour conditional writes (`If-None-Match: *`) and keep no versions. Blobs of
    more than 5 MB are uploaded by parts; let a rule of the bucket's lifecycle remove uploads that
    never ended (`AbortIncompleteMultipartUpload`).

    It must not be used, nor prepared, before a process forks. Needs `restante[s3]`.
    """

    def __init__(
        self,
        bucket: str,
        *,
        endpoint: str | None = None,
        region: str = "us-east-1",
        prefix: str = "",
        access_key: str | None = None,
        secret_key: str | None = None,
        timeout: float = 30.0,
        ca_file: str | os.PathLike[str] | None = None,
    ) -> None:
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(
                f"bucket {bucket!r}: allowed are 3 to 255 letters, digits and '._-',"
                " the first and last a letter or digit"
            )
        if not region or not region.isascii() or not region.replace("-", "").isalnum():
            raise ValueError(f"region {region!r}: allowed are letters, digits and '-'")
        if prefix and not prefix.endswith("/"):
            prefix += "/"
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(
                f"prefix {prefix!r}: allowed are names of letters, digits and '._-', each"
                " followed by a '/'"
            )
        if (access_key is None) != (secret_key is None):
            raise ValueError("access_key and secret_key: allowed are both or neither")
        if access_key == "" or secret_key == "":
            raise ValueError("access_key and secret_key must not be empty")
        if not 1 <= timeout <= 3600:
            raise ValueError(f"timeout {timeout!r}: allowed are 1 to 3600 seconds")
        self.bucket = bucket
        self.endpoint = _checked_endpoint(endpoint)
        self.prefix = prefix
        self.timeout = timeout
        self._library = _library()
        once = timedelta(seconds=timeout / 3)  # so that a try that hangs isn't the last one
        client: dict[str, Any] = {
            "timeout": once,
            "connect_timeout": min(once, timedelta(seconds=5)),
            "user_agent": "restante",
            "allow_http": endpoint is not None and endpoint.startswith("http://"),
        }
        config: dict[str, Any] = {"region": region, "disable_bulk_delete": True}
        if self.endpoint is not None:
            config["endpoint"] = self.endpoint
        if access_key is not None:
            config |= {"access_key_id": access_key, "secret_access_key": secret_key}
        if ca_file is not None:
            client["root_certificate"] = _certificates(ca_file)
        self._store = self._made(client, config, max_retries=0)  # we try again ourselves
        self._uploads = self._made(
            client, config, max_retries=3, retry_timeout=timedelta(seconds=timeout / 2)
        )
        self._errors = (self._library.exceptions.BaseError, FileNotFoundError)
        self._putting: WeakKeyDictionary[object, asyncio.Semaphore] = WeakKeyDictionary()
        self._closed = False

    def __repr__(self) -> str:
        return f"S3Blobs({self.bucket!r}, endpoint={self.endpoint!r}, prefix={self.prefix!r})"

    def _made(self, client: dict[str, Any], config: dict[str, Any], **retry: Any) -> S3Store:
        """The library's store with these settings. Raises ValueError."""
        try:
            return self._library.store.S3Store(  # type: ignore[no-any-return]
                self.bucket, config=config, client_options=client, retry_config=retry
            )
        except (self._library.exceptions.BaseError, ValueError) as error:
            what = "ca_file: it has no certificates" if "root_certificate" in client else "settings"
            raise ValueError(f"{what} ({type(error).__name__})") from None

    # The contract

    async def prepare(self) -> None:
        """See that objects can be written once, read, and removed for good. Raises StoreError."""
        self._closed = False
        name = f"{self.prefix}check-{token_hex(8)}"
        version = await self._created(name, b"1")
        try:
            if version not in (None, "null"):
                raise self._error(
                    "the bucket keeps versions, so what is removed would stay; suspend its"
                    " versioning, or name another bucket"
                )
            try:
                await self._created(name, b"2")
            except _Exists:
                pass
            else:
                raise self._error(
                    "it ignores conditional writes (If-None-Match), so blobs could be overwritten;"
                    " update the server, or use another one"
                )
            try:
                block = await self._block(name, 0, 1, None)
            except BlobDamaged:
                block = None
            if block is None or block.octets != b"1":
                raise self._error("what is read isn't what was written")
        finally:
            await self._deleted(name)
        try:
            await self._head(name)
        except BlobMissing:
            return
        except StoreError as error:
            raise self._error(
                "it doesn't tell what is missing from what is forbidden; give the access key the"
                f" right s3:ListBucket ({error})"
            ) from None
        raise self._error("what was removed is still there")

    async def put(self, key: str, source: BinaryIO, octets: int) -> None:
        """Keep the object. A large one is uploaded by parts, and seen when all are there."""
        name = self.prefix + checked_key(key)
        loop = asyncio.get_running_loop()
        async with self._putting.setdefault(loop, asyncio.Semaphore(PUTS_AT_ONCE)):
            if octets <= PART:
                await self._put_whole(name, await asyncio.to_thread(_taken, source, octets))
            elif not await self._is_there(name):
                await self._put_by_parts(name, source, octets)

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The octets, in blocks of 1 MB at most, each asked for when it is wanted.

        A blob that is replaced meanwhile raises StoreError. Where all of one is read that wasn't
        put by parts, a damaged one raises BlobDamaged before its last block.
        """
        checked_range(start, end)
        return self._read(self.prefix + checked_key(key), start, end)

    async def remove(self, key: str) -> None:
        """Remove the object."""
        await self._deleted(self.prefix + checked_key(key))

    async def aclose(self) -> None:
        """Use it no more: what still goes on raises StoreError. `prepare` begins again."""
        self._closed = True

    # How it is done

    async def _put_whole(self, name: str, body: bytes) -> None:
        deadline = self._now() + self.timeout
        while True:
            try:
                await self._created(name, body)
            except _Exists as error:
                # Or another put of it, or its removal, was about to end (409): look.
                if await self._is_there(name):
                    return
                if self._now() > deadline:
                    raise self._error(str(error)) from None
                await asyncio.sleep(0.1)
            else:
                return

    async def _put_by_parts(self, name: str, source: BinaryIO, octets: int) -> None:
        """The protocol of parts has no condition that all servers know. Whoever reads a blob
        while another puts it again is safe all the same: see `_read`."""
        deadline = self._now() + self.timeout
        while True:
            reading = _Parts(source, octets)
            try:
                await self._library.put_async(
                    self._entered(self._uploads), name, reading.blocks(), use_multipart=True,
                    chunk_size=PART, max_concurrency=PARTS_AT_ONCE,
                )  # fmt: skip
            except self._errors as error:
                if reading.failed is not None:
                    raise reading.failed from None
                failure = self._failure(name, error)
            else:
                return
            # The answer to its last request may have been lost.
            if reading.ended and failure.again and await self._is_there(name, octets):
                return
            if not failure.again or self._now() > deadline:
                raise failure.told from None

    async def _read(self, name: str, start: int, end: int | None) -> AsyncGenerator[bytes, None]:
        """All blocks are of the same object: the server is told the first one's ETag."""
        if end == start:
            await self._head(name)
            return
        # Who wants all may want the beginning only; who names an end wants what is before it.
        size, tag = FIRST_BLOCK if end is None else LARGEST_BLOCK, None
        digest = sha256() if start == 0 else None
        while end is None or start < end:
            stop = start + size if end is None else min(start + size, end)
            block = await self._block(name, start, stop, tag)
            tag = block.tag
            if not block.octets:
                return
            start += len(block.octets)
            if digest is not None:
                digest.update(block.octets)
                if start == block.total:
                    self._check(name, block, digest)
            yield block.octets
            end = block.total if end is None else min(end, block.total)
            size = min(size * 4, LARGEST_BLOCK)

    # Requests, repeated while that may help

    async def _created(self, name: str, body: bytes) -> str | None:
        """The version of a new object, where the bucket has versions. Raises _Exists."""

        attributes = {DIGEST: sha256(body).hexdigest()}

        async def create() -> str | None:
            done = await self._library.put_async(
                self._entered(), name, body, mode="create", use_multipart=False,
                attributes=attributes,
            )  # fmt: skip
            version: str | None = done["version"]
            return version

        try:
            return await self._repeated(name, create, late=0)
        except BlobMissing:
            raise self._error(
                "it answers 404 to a write; is there such a bucket, and an S3 server?"
            ) from None

    async def _block(self, name: str, start: int, stop: int, tag: str | None) -> _Block:
        options: dict[str, Any] = {"range": (start, stop)}
        if tag is not None:
            options["if_match"] = tag

        async def get() -> _Block:
            result = await self._library.get_async(self._entered(), name, options=options)
            octets = bytes(await result.bytes_async())
            meta = result.meta
            if tuple(result.range) != (start, start + len(octets)) or len(octets) > stop - start:
                raise self._error(f"it gives other octets of {name!r} than were asked for")
            block = _Block(octets, meta["size"], meta["e_tag"], result.attributes.get(DIGEST))
            if len(octets) == block.total:
                self._check(name, block, sha256(octets))
            return block

        try:
            return await self._repeated(name, get)
        except _BeyondEnd:
            return _Block(b"", start, tag, None)

    def _check(self, name: str, block: _Block, found: Any) -> None:
        """Raises BlobDamaged if an object's digest is known and isn't this one."""
        if block.digest not in (None, found.hexdigest()):
            raise BlobDamaged(f"{name!r} in bucket {self.bucket!r} isn't what was put there")

    async def _head(self, name: str) -> int:
        """The octets of an object. Raises BlobMissing."""

        async def head() -> int:
            octets: int = (await self._library.head_async(self._entered(), name))["size"]
            return octets

        return await self._repeated(name, head)

    async def _is_there(self, name: str, octets: int | None = None) -> bool:
        """Whether there is an object, at once; of so many octets."""

        async def head() -> int:
            found: int = (await self._library.head_async(self._entered(), name))["size"]
            return found

        try:
            found = await self._repeated(name, head, late=0)
        except BlobMissing:
            return False
        return octets is None or octets == found

    async def _deleted(self, name: str) -> None:
        async def delete() -> None:
            await self._library.delete_async(self._entered(), name)

        with suppress(BlobMissing):
            await self._repeated(name, delete, late=0)

    async def _repeated(
        self, name: str, work: Callable[[], Awaitable[T]], *, late: float | None = None
    ) -> T:
        """What `work` gives. late: seconds for which a missing object may
        only be late."""
        began = self._now()
        late = LATE_SECONDS if late is None else late
        deadline, pause = began + self.timeout, 0.05
        failure: _Failure | None = None
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await work()
            except BlobDamaged as error:
                failure = _Failure(error, again=True)
            except StoreError:
                raise
            except TimeoutError:
                if failure is not None:
                    raise failure.told from None
                raise self._error("it doesn't answer in time") from None
            except self._errors as error:
                failure = self._failure(name, error)
            may_be_over_soon = isinstance(failure.told, BlobMissing | BlobDamaged)
            limit = began + late if may_be_over_soon else deadline
            if not failure.again or self._now() + pause > limit:
                raise failure.told from None
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
            pause = min(2 * pause, 1.0)

    def _entered(self, store: S3Store | None = None) -> S3Store:
        """The library's store, if it may be used now."""
        if self._closed:
            raise StoreError(f"{self!r} is closed")
        process = os.getpid()
        if _used_by.setdefault("process", process) != process:
            raise StoreError("S3 was used before this process forked, so that it can't use it")
        return store or self._store

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    # Errors

    def _failure(self, name: str, error: Exception) -> _Failure:
        """What an error of the library means. Its own text is never shown: who knows what a
        server puts into it."""
        text = str(error)
        found = _CODE.search(text)
        code = found[1] if found else ""
        found = _STATUS.search(text)
        status = int(found[1]) if found else 0
        kinds = self._library.exceptions
        if code != "NoSuchBucket" and (isinstance(error, FileNotFoundError) or status == 404):
            where = f"bucket {self.bucket!r}"
            return _Failure(BlobMissing(f"there is no object {name!r} in {where}"), again=True)
        if isinstance(error, kinds.AlreadyExistsError):
            told = f"it answers {status} {code}".rstrip()
            return _Failure(_Exists(told), again=False)
        if status == 416:
            return _Failure(_BeyondEnd(f"{name!r} ends before"), again=False)
        if isinstance(error, kinds.PreconditionError) or status == 412:
            return _Failure(self._error(f"{name!r} was replaced while it was read"), again=False)
        lower = text.lower()
        symptom = next((said for sign, said in _SYMPTOMS.items() if sign in lower), "")
        if status:
            told = f"it answers {status} {code}".rstrip()
            hint = _HINTS.get(code) or (_HINTS["AccessDenied"] if status == 403 else "")
            told += f" ({hint})" if hint else ""
        else:
            told = symptom or "the connection failed"
        lasting = 300 <= status < 500 and status not in (408, 409, 429)
        lasting = lasting and code != "RequestTimeout"
        lasting = lasting or symptom in (_SYMPTOMS["certificate"], _SYMPTOMS["without location"])
        return _Failure(self._error(told), again=not lasting)

    def _error(self, what: str) -> StoreError:
        return StoreError(f"S3 at {self.endpoint or 'AWS'}, bucket {self.bucket!r}: {what}")


class _Block(NamedTuple):
    """A part of an object; the octets that all of it has, its ETag, and its digest if known."""

    octets: bytes
    total: int
    tag: str | None
    digest: str | None


class _Failure(NamedTuple):
    """Why a request failed. again: whether a repetition may help."""

    told: StoreError
    again: bool


class _Exists(StoreError):
    """There is an object of that name."""


class _BeyondEnd(StoreError):
    """No octet of the range is in the object."""


class _Parts:
    """A source that is uploaded. failed: what went wrong with it; ended: all of it was read."""

    def __init__(self, source: BinaryIO, octets: int) -> None:
        self._source, self._octets = source, octets
        self.failed: Exception | None = None
        self.ended = False

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        try:
            await asyncio.to_thread(self._source.seek, 0)
            left = self._octets
            while left:
                block = await asyncio.to_thread(self._source.read, min(left, LARGEST_BLOCK))
                if not block:
                    raise _too_early(self._octets, left)
                left -= len(block)
                self.ended = not left
                yield block
        except Exception as error:
            self.failed = error
            raise


def _library() -> Any:
    try:
        obstore = import_module("obstore")
        import_module("obstore.store")
        import_module("obstore.exceptions")
    except ImportError as error:
        raise ImportError(missing("s3", "S3Blobs", "obstore", error)) from error
    return obstore


def _certificates(file: str | os.PathLike[str]) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ValueError(f"ca_file {os.fspath(file)!r}: {error.strerror}") from error


def _taken(source: BinaryIO, octets: int) -> bytes:
    source.seek(0)
    blocks, left = [], octets
    while left and (block := source.read(left)):
        blocks.append(block)
        left -= len(block)
    if left:
        raise _too_early(octets, left)
    return b"".join(blocks)


def _too_early(octets: int, left: int) -> ValueError:
    return ValueError(f"a blob of {octets} octets ends {left} octets too early")


_used_by: dict[str, int] = {}
"""Which process has used the library: its threads don't survive a fork."""


def _checked_endpoint(endpoint: str | None) -> str | None:
    """Raises ValueError, which doesn't show what may be a password."""
    if endpoint is None:
        return None
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    bare = f"{parts.scheme}://{parts.netloc}"
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or "@" in parts.netloc
        or port == 0
        or endpoint.rstrip("/") != bare
    ):
        shown = repr(endpoint) if "@" not in endpoint else "with a user's name"
        raise ValueError(f"endpoint {shown}: allowed is http://HOST[:PORT] or https://HOST[:PORT]")
    return bare
