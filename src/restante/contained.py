"""What somebody else's function raises costs the command it was called for, never the server."""

from __future__ import annotations

import threading
import types
from asyncio import CancelledError, current_task
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, NoReturn, ParamSpec, TypeVar

THE_LOOPS_OWN = (CancelledError, GeneratorExit, KeyboardInterrupt)

P = ParamSpec("P")
T = TypeVar("T")


def as_exception(error: BaseException) -> Exception:
    """`error`, or a RuntimeError from it if no `except Exception` would catch it.

    `sys.exit()` in somebody's function would otherwise end the event loop, and the server
    with it. A CancelledError that nobody asked for would leave a session without an answer.
    """
    # A future doesn't take StopIteration, and within a coroutine it has another meaning.
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    instead = RuntimeError(f"{type(error).__name__} was raised")
    instead.__cause__ = error
    return instead


def is_interrupt(error: BaseException) -> bool:
    """Whether `error` is Ctrl+C, which Python raises in whatever the main thread runs."""
    on_main_thread = threading.current_thread() is threading.main_thread()
    return isinstance(error, KeyboardInterrupt) and on_main_thread


def call_contained(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a plain function here. Raises nothing but an Exception; Ctrl+C goes through."""
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        raise_contained(error)


def raise_contained(error: BaseException) -> NoReturn:
    """From within `except BaseException`: raise it as `call_contained` says."""
    instead = error if is_interrupt(error) else as_exception(error)
    if instead is error:
        raise error
    raise instead from error


@types.coroutine
def await_contained(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await somebody's coroutine. Raises nothing but an Exception.

    What was thrown in from outside goes through: the cancellation of our own task, and
    GeneratorExit when it is closed. Python's Ctrl+C goes through as well. A CancelledError
    that the coroutine raises, or gets from a task that it waits for, is its own.
    """
    thrown: BaseException | None = None
    value: Any = None
    while True:
        try:
            waits_for = work.send(value) if thrown is None else work.throw(thrown)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        except CancelledError as error:
            task = current_task()
            if task is not None and task.cancelling():
                raise
            raise as_exception(error) from error
        except Exception:
            raise
        except BaseException as error:
            if error is thrown or is_interrupt(error):
                raise
            raise as_exception(error) from error
        thrown = None
        try:
            value = yield waits_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:
            thrown = error


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
