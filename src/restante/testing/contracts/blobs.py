"""What every place for blobs promises, whatever it keeps them in."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from inspect import isawaitable
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar, cast

import pytest

from restante.stores.blobs.contract import BlobMissing, Blobs
from restante.stores.contract import StoreError

T = TypeVar("T")

MIB = 1024 * 1024

LARGEST_BLOCK = MIB
"""Octets of a block that `read` may give."""

KEY = "17-00aa"
NO_KEYS = ["", ".", "..", ".hidden", "../up", "a/b", "a\\b", "a\0b", "a\nb", "a b", "-a", "ä"]
NO_KEYS += ["%2e", "a?b", "a#b", "/etc/passwd", "x" * 201]

_LINE = bytes(range(256)) * 15 + b"." * 254 + b"\r\n"


class Octets(RawIOBase):
    """A file of any size that lies nowhere. It remembers how much was asked for at a time.

    fails_at: reading from this octet on raises OSError.
    """

    def __init__(self, octets: int, *, fails_at: int | None = None) -> None:
        self.octets = octets
        self.most = 0
        self._fails_at = fails_at
        self._at = 0

    # Its content repeats nowhere, and is quickly made.
    @staticmethod
    def part(start: int, octets: int) -> bytes:
        """The octets from `start` on."""
        first = start // len(_LINE)
        lines = range(first, (start + octets) // len(_LINE) + 1)
        text = b"".join(b"%016d" % line + _LINE[16:] for line in lines)
        return text[start - first * len(_LINE) :][:octets]

    def digest(self) -> str:
        """The digest of all of it."""
        digest = hashlib.sha256()
        for start in range(0, self.octets, MIB):
            digest.update(self.part(start, min(MIB, self.octets - start)))
        return digest.hexdigest()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go there."""
        self._at = offset + {0: 0, 1: self._at, 2: self.octets}[whence]
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """The next octets."""
        left = max(0, self.octets - self._at)
        size = left if size is None or size < 0 else min(size, left)
        self.most = max(self.most, size)
        if self._fails_at is not None and self._at + size > self._fails_at:
            raise OSError(5, "the source can't be read")
        self._at += size
        return self.part(self._at - size, size)


class BlobsContract:
    """Tests for a place for blobs (`Blobs`). Derive a class named `Test…`, write `make_blobs`.

    large: octets of the blob that shows that memory is bounded.
    most_in_memory: how many octets of a blob `put` may ask its source for at a time.
    """

    large: ClassVar[int] = 24 * MIB
    most_in_memory: ClassVar[int] = 8 * MIB

    # What an author writes

    def make_blobs(self, folder: Path) -> Blobs | Awaitable[Blobs]:
        """The place under test, plain or async. folder: a new one, for whatever it keeps.

        Called again with the same folder, it gives the same place as another node has it.
        """
        raise NotImplementedError("write make_blobs(self, folder): it gives the place")

    def key(self, name: str) -> str:
        """The key that stands for this name, where the place has keys of one form only."""
        return name

    # How it works

    @pytest.fixture
    def runner(self) -> Iterator[asyncio.Runner]:
        """The event loop that the test runs on."""
        with asyncio.Runner() as runner:
            yield runner

    @pytest.fixture
    def blobs(self, runner: asyncio.Runner, tmp_path: Path) -> Iterator[BlobsUnderTest]:
        """The place under test, prepared."""
        (folder := tmp_path / "blobs").mkdir()
        made = BlobsUnderTest(runner, lambda: self.make_blobs(folder), self.key)
        yield made
        made.finish()

    # Put and read

    def test_it_is_a_place_for_blobs(self, blobs: BlobsUnderTest) -> None:
        assert isinstance(blobs.given, Blobs)

    @pytest.mark.parametrize("octets", [0, 1, 1000, 65_536, 300_000])
    def test_what_was_put_is_read(self, blobs: BlobsUnderTest, octets: int) -> None:
        body = Octets.part(0, octets)
        blobs.put(KEY, body)
        assert blobs.read(KEY) == body

    def test_all_octets_are_kept(self, blobs: BlobsUnderTest) -> None:
        body = bytes(range(256)) + b"\r\n\n\r.\r\n..\0\xff" * 50
        blobs.put(KEY, body)
        assert blobs.read(KEY) == body

    def test_blobs_do_not_mix(self, blobs: BlobsUnderTest) -> None:
        keys = ["1-a", "1-A", "1-a.b", "11-a", "1_a", "1-aa"]
        for key in keys:
            blobs.put(key, key.encode())
        assert [blobs.read(key) for key in keys] == [key.encode() for key in keys]
        blobs.remove("1-a")
        assert [blobs.has(key) for key in keys] == [False] + [True] * 5

    def test_the_source_is_kept_from_its_beginning_on(self, blobs: BlobsUnderTest) -> None:
        source = BytesIO(b"0123456789")
        source.seek(7)
        blobs.run(blobs.given.put(blobs.key(KEY), source, 10))
        assert blobs.read(KEY) == b"0123456789"

    def test_only_so_many_octets_are_kept_as_are_told(self, blobs: BlobsUnderTest) -> None:
        blobs.run(blobs.given.put(blobs.key(KEY), BytesIO(b"0123456789"), 4))
        assert blobs.read(KEY) == b"0123"

    def test_another_node_has_it_at_once(self, blobs: BlobsUnderTest) -> None:
        blobs.put(KEY, b"body")
        other = blobs.another()
        assert other.read(KEY) == b"body"
        other.remove(KEY)
        other.finish()

    def test_it_is_still_there_after_a_restart(self, blobs: BlobsUnderTest) -> None:
        blobs.put(KEY, b"body")
        blobs.finish()
        other = blobs.another()
        assert other.read(KEY) == b"body"
        other.finish()

    def test_a_key_that_is_there_stays_as_it_is(self, blobs: BlobsUnderTest) -> None:
        blobs.put(KEY, b"the first")
        blobs.put(KEY, b"the first")
        blobs.put(KEY, b"another")
        assert blobs.read(KEY) == b"the first"

    def test_a_key_can_be_put_again_after_it_was_removed(self, blobs: BlobsUnderTest) -> None:
        blobs.put(KEY, b"first")
        blobs.remove(KEY)
        blobs.put(KEY, b"second")
        assert blobs.read(KEY) == b"second"

    def test_one_of_many_puts_of_a_key_at_once_is_kept(self, blobs: BlobsUnderTest) -> None:
        other = blobs.another()
        bodies = [bytes([n]) * 50_000 for n in range(8)]
        done = blobs.at_once(
            (blobs, other)[n % 2].given.put(blobs.key(KEY), BytesIO(body), len(body))
            for n, body in enumerate(bodies)
        )
        assert done == [None] * len(bodies)
        assert blobs.read(KEY) in bodies
        assert blobs.read(KEY) == other.read(KEY)
        other.finish()

    def test_many_are_put_and_read_at_once(self, blobs: BlobsUnderTest) -> None:
        async def one(number: int) -> bool:
            body = Octets.part(number * 1000, 20_000 + number)
            await blobs.given.put(blobs.key(f"{number}-x"), BytesIO(body), len(body))
            return await blobs.reading(f"{number}-x") == body

        assert blobs.at_once(one(number) for number in range(40)) == [True] * 40

    # Ranges

    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, 10), (0, 0), (5, 5), (99_990, 100_000), (70_000, None), (65_530, 65_545),
         (99_999, 100_001), (99_990, 10**12)],
    )  # fmt: skip
    def test_a_range_is_read(self, blobs: BlobsUnderTest, start: int, end: int | None) -> None:
        body = Octets.part(0, 100_000)
        blobs.put(KEY, body)
        assert blobs.read(KEY, start, end) == body[start:end]

    @pytest.mark.parametrize(
        ("start", "end"), [(100_000, None), (100_000, 100_010), (10**12, None), (10**12, 10**13)]
    )
    def test_beyond_the_end_there_is_nothing(
        self, blobs: BlobsUnderTest, start: int, end: int | None
    ) -> None:
        blobs.put(KEY, Octets.part(0, 100_000))
        assert blobs.read(KEY, start, end) == b""

    def test_an_empty_blob_has_ranges_too(self, blobs: BlobsUnderTest) -> None:
        blobs.put(KEY, b"")
        assert [blobs.read(KEY, 0, 10), blobs.read(KEY, 7), blobs.read(KEY, 0, 0)] == [b""] * 3

    @pytest.mark.parametrize(("start", "end"), [(-1, None), (-5, 5), (3, 2), (0, -1)])
    def test_what_is_no_range_is_refused(
        self, blobs: BlobsUnderTest, start: int, end: int | None
    ) -> None:
        blobs.put(KEY, b"0123456789")
        with pytest.raises(ValueError, match="start"):
            blobs.read(KEY, start, end)

    # Large ones

    def test_a_large_one_goes_through_little_memory(self, blobs: BlobsUnderTest) -> None:
        source = Octets(self.large)
        blobs.run(blobs.given.put(blobs.key(KEY), cast("BinaryIO", source), source.octets))
        assert source.most <= self.most_in_memory

        async def digest() -> tuple[str, int]:
            found, most = hashlib.sha256(), 0
            async with aclosing(blobs.given.read(blobs.key(KEY))) as blocks:
                async for block in blocks:
                    found.update(block)
                    most = max(most, len(block))
            return found.hexdigest(), most

        found, most = blobs.run(digest())
        assert found == source.digest()
        assert 0 < most <= LARGEST_BLOCK
        middle = self.large // 2
        assert blobs.read(KEY, middle, middle + 100) == Octets.part(middle, 100)

    def test_a_large_one_put_again_stays_as_it_is(self, blobs: BlobsUnderTest) -> None:
        source = Octets(self.large)
        for _ in range(2):
            blobs.run(blobs.given.put(blobs.key(KEY), cast("BinaryIO", source), source.octets))
        assert blobs.read(KEY, self.large - 100) == Octets.part(self.large - 100, 100)

    def test_who_reads_the_beginning_only_may_stop(self, blobs: BlobsUnderTest) -> None:
        source = Octets(self.large)
        blobs.run(blobs.given.put(blobs.key(KEY), cast("BinaryIO", source), source.octets))

        async def beginning() -> bytes:
            async with aclosing(blobs.given.read(blobs.key(KEY))) as blocks:
                return await anext(blocks)

        for _ in range(3):
            first = blobs.run(beginning())
            assert first == Octets.part(0, len(first))

    # What is missing

    def test_what_was_never_put_is_missing(self, blobs: BlobsUnderTest) -> None:
        with pytest.raises(BlobMissing) as caught:
            blobs.read(KEY)
        assert caught.value.temporary
        with pytest.raises(BlobMissing):
            blobs.read(KEY, 10, 20)

    def test_an_empty_range_of_nothing_is_missing_too(self, blobs: BlobsUnderTest) -> None:
        with pytest.raises(BlobMissing):
            blobs.read(KEY, 0, 0)

    def test_what_was_removed_is_missing(self, blobs: BlobsUnderTest) -> None:
        blobs.put(KEY, b"body")
        blobs.remove(KEY)
        with pytest.raises(BlobMissing):
            blobs.read(KEY)

    def test_removing_again_is_no_error(self, blobs: BlobsUnderTest) -> None:
        blobs.remove(KEY)
        blobs.put(KEY, b"body")
        blobs.remove(KEY)
        blobs.remove(KEY)
        assert not blobs.has(KEY)

    def test_many_may_remove_one_at_once(self, blobs: BlobsUnderTest) -> None:
        blobs.put(KEY, b"body")
        assert blobs.at_once(blobs.given.remove(blobs.key(KEY)) for _ in range(8)) == [None] * 8
        assert not blobs.has(KEY)

    # What goes wrong

    @pytest.mark.parametrize("octets", [50_000, 20 * MIB])
    def test_a_put_that_fails_leaves_nothing(self, blobs: BlobsUnderTest, octets: int) -> None:
        source = Octets(octets, fails_at=octets * 3 // 4)
        with pytest.raises((OSError, StoreError)):
            blobs.run(blobs.given.put(blobs.key(KEY), cast("BinaryIO", source), octets))
        assert not blobs.has(KEY)
        blobs.put(KEY, b"whole")
        assert blobs.read(KEY) == b"whole"

    @pytest.mark.parametrize("octets", [100, 20 * MIB])
    def test_a_source_that_ends_too_early_leaves_nothing(
        self, blobs: BlobsUnderTest, octets: int
    ) -> None:
        source = Octets(octets - 1)
        with pytest.raises(ValueError, match="too early"):
            blobs.run(blobs.given.put(blobs.key(KEY), cast("BinaryIO", source), octets))
        assert not blobs.has(KEY)

    @pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 40])
    def test_a_put_that_is_cancelled_leaves_all_or_nothing(
        self, blobs: BlobsUnderTest, steps: int
    ) -> None:
        source = Octets(2 * MIB)

        async def cancelled() -> None:
            putting = asyncio.ensure_future(
                blobs.given.put(blobs.key(KEY), cast("BinaryIO", source), source.octets)
            )
            for _ in range(steps):
                await asyncio.sleep(0.001)
            putting.cancel()
            await asyncio.gather(putting, return_exceptions=True)

        blobs.run(cancelled())
        if blobs.has(KEY):
            assert hashlib.sha256(blobs.read(KEY)).hexdigest() == source.digest()
        blobs.run(blobs.given.put(blobs.key(KEY), cast("BinaryIO", Octets(2 * MIB)), source.octets))
        assert hashlib.sha256(blobs.read(KEY)).hexdigest() == source.digest()

    def test_nobody_sees_a_part_of_what_is_being_put(self, blobs: BlobsUnderTest) -> None:
        source = Octets(6 * MIB)
        whole = source.digest()

        async def watching() -> set[str | None]:
            putting = asyncio.ensure_future(
                blobs.given.put(blobs.key(KEY), cast("BinaryIO", source), source.octets)
            )
            seen: set[str | None] = set()
            while not putting.done():
                try:
                    seen.add(hashlib.sha256(await blobs.reading(KEY)).hexdigest())
                except BlobMissing:
                    seen.add(None)
                await asyncio.sleep(0.01)
            await putting
            return seen

        assert blobs.run(watching()) <= {None, whole}
        assert hashlib.sha256(blobs.read(KEY)).hexdigest() == whole

    @pytest.mark.parametrize("key", NO_KEYS)
    def test_what_is_no_key_is_refused(self, blobs: BlobsUnderTest, key: str) -> None:
        async def read() -> None:
            async for _ in blobs.given.read(key):
                pass

        with pytest.raises(ValueError, match="key"):
            blobs.run(blobs.given.put(key, BytesIO(b"body"), 4))
        with pytest.raises(ValueError, match="key"):
            blobs.run(read())
        with pytest.raises(ValueError, match="key"):
            blobs.run(blobs.given.remove(key))

    def test_a_key_may_have_200_characters(self, blobs: BlobsUnderTest) -> None:
        for key in ("x" * 200, "0" + "._-" * 66):
            blobs.put(key, b"body")
            assert blobs.read(key) == b"body"
            blobs.remove(key)
            assert not blobs.has(key)

    # Closing

    def test_preparing_and_closing_may_be_repeated(self, blobs: BlobsUnderTest) -> None:
        blobs.put(KEY, b"body")
        blobs.run(blobs.given.prepare())
        assert blobs.read(KEY) == b"body"
        blobs.run(blobs.given.aclose())
        blobs.run(blobs.given.aclose())

    def test_closing_in_the_middle_of_a_read_gives_no_wrong_octets(
        self, blobs: BlobsUnderTest
    ) -> None:
        source = Octets(self.large)
        blobs.run(blobs.given.put(blobs.key(KEY), cast("BinaryIO", source), source.octets))

        async def closed() -> bytes:
            async with aclosing(blobs.given.read(blobs.key(KEY))) as blocks:
                got = await anext(blocks)
                await blobs.given.aclose()
                try:
                    async for block in blocks:
                        got += block
                except StoreError:
                    return got
            assert len(got) == source.octets
            return got

        got = blobs.run(closed())
        assert got == Octets.part(0, len(got))

    def test_closing_while_many_are_busy_lets_them_end(self, blobs: BlobsUnderTest) -> None:
        blobs.put(KEY, Octets.part(0, 500_000))

        async def all_of_it() -> list[object]:
            reads = [asyncio.ensure_future(blobs.reading(KEY)) for _ in range(30)]
            await asyncio.sleep(0)
            await blobs.given.aclose()
            return await asyncio.gather(*reads, return_exceptions=True)

        for result in blobs.run(all_of_it()):
            assert result == Octets.part(0, 500_000) or isinstance(result, StoreError)


class BlobsUnderTest:
    """A place for blobs, and short ways to use it in a test that is no coroutine.

    given: what `make_blobs` gave.
    """

    def __init__(
        self,
        runner: asyncio.Runner,
        make: Callable[[], Blobs | Awaitable[Blobs]],
        key: Callable[[str], str],
    ) -> None:
        self._runner = runner
        self._make = make
        self.key = key
        self.given: Blobs = self.run(self._prepared())

    async def _prepared(self) -> Blobs:
        made = self._make()
        blobs = await made if isawaitable(made) else made
        await blobs.prepare()
        return blobs

    def another(self) -> BlobsUnderTest:
        """The same place, as another node has it."""
        return BlobsUnderTest(self._runner, self._make, self.key)

    def finish(self) -> None:
        """Close it."""
        self.run(self.given.aclose())

    def run(self, work: Awaitable[T]) -> T:
        """What `work` gives."""

        async def awaiting() -> T:
            return await work

        return self._runner.run(awaiting())

    def at_once(self, works: Iterator[Any]) -> list[Any]:
        """What these give, or raise, begun together."""

        async def gathered() -> list[Any]:
            return await asyncio.gather(*works, return_exceptions=True)

        return self._runner.run(gathered())

    def put(self, key: str, body: bytes) -> None:
        """Keep these octets."""
        self.run(self.given.put(self.key(key), BytesIO(body), len(body)))

    async def reading(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The octets from `start` up to `end`."""
        async with aclosing(self.given.read(self.key(key), start, end)) as blocks:
            return b"".join([block async for block in _bounded(blocks)])

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The same, for a test."""
        return self.run(self.reading(key, start, end))

    def remove(self, key: str) -> None:
        """Remove the blob."""
        self.run(self.given.remove(self.key(key)))

    def has(self, key: str) -> bool:
        """Whether it can be read."""
        try:
            self.read(key, 0, 1)
        except BlobMissing:
            return False
        return True


async def _bounded(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for block in blocks:
        assert isinstance(block, bytes)
        assert 0 < len(block) <= LARGEST_BLOCK
        yield block
