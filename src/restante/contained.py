"""Others' functions, kept from ending what calls them: handlers, accounts, stores."""

from __future__ import annotations

from asyncio import CancelledError
from types import TracebackType

THE_LOOPS_OWN = (CancelledError, GeneratorExit, KeyboardInterrupt)
"""What event loops live by, and Ctrl+C, which Python raises in whatever runs."""


def as_exception(error: BaseException) -> Exception:
    """`error`, or a RuntimeError from it if no `except Exception` would catch it.

    `sys.exit()` in somebody's function would otherwise end the event loop, and the server
    with it; other such errors would leave a session waiting for ever.
    """
    # A future doesn't take StopIteration, and within a coroutine it has another meaning.
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    instead = RuntimeError(f"{type(error).__name__} was raised")
    instead.__cause__ = error
    return instead


class Contained:
    """What is called within `with contained:` raises nothing but an Exception.

    `THE_LOOPS_OWN` goes through.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, (Exception, *THE_LOOPS_OWN)):
            raise as_exception(error) from error


contained = Contained()
