"""`restante serve`: from a configuration to a running server, and to its end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from restante import __version__
from restante.app import first_start, logs, metrics
from restante.app.config.checks import check
from restante.app.config.load import Loaded
from restante.app.config.problem import ConfigError
from restante.app.config.settings import Settings
from restante.app.errors import NoAnswer, StartError
from restante.app.files import allow_open_files, make_private_folder, write_file
from restante.app.maildrops import lost_folder_of_mail, make_folder_of_mail, shown_place
from restante.app.processes.admin_client import ask
from restante.app.processes.admin_single import SingleProcessAdmin
from restante.app.processes.admin_socket import address_rows
from restante.app.processes.console_process import ConsoleProcess
from restante.app.processes.listen_sockets import Endpoint, bind_all, close_all, refuse_taken
from restante.app.processes.memory import tune_collector
from restante.app.processes.supervisor import Supervisor
from restante.app.service import Service
from restante.app.signals import ENDINGS, FirstSignal, ignore_further
from restante.cores import usable_cores

log = logging.getLogger("restante.app")

_TLS_WORDS = {
    "none": "",
    "implicit": "TLS from the start",
    "starttls": "TLS by {command}",
    "starttls_required": "TLS by {command}, required",
}


def serve(loaded: Loaded, reread: Callable[[], Loaded], ready_file: Path | None = None) -> None:
    """Run the server until a signal ends it.

    ready_file: gets, once all addresses are listened on, a JSON object that lists them.
    Raises ConfigError, StartError, OSError.
    """
    settings = loaded.settings
    found = check(loaded)
    if errors := [problem for problem in found if not problem.warning]:
        raise ConfigError(errors)
    try:
        refuse_taken(settings)
    except StartError as error:
        if error.taken and _listens_already(settings, error.taken):
            raise StartError(
                f"{error}. It is Restante that listens there, with the same data folder,"
                f" {settings.server.data}: `restante status` shows its processes"
            ) from error
        raise
    allow_open_files()
    make_private_folder(settings.server.data)
    made = _make_folder_of_mail(settings)
    logs.configure(format=settings.log.format, level=settings.log.level, file=settings.log.file)
    for told in [*found, *made]:
        log.warning("%s", told)
    if first_start.make_development_certificate(settings):
        log.info("made a development certificate in %s", settings.development_certificate[0])
    password = first_start.make_first_account(loaded)
    if password is not None:
        print(_first_account(loaded, password), flush=True)
    password = first_start.make_first_administrator(loaded)
    if password is not None:
        print(_first_administrator(loaded, password), flush=True)
    console = ConsoleProcess(loaded) if settings.console.port != "off" else None

    def announce(endpoints: Sequence[Endpoint]) -> None:
        if console is not None:
            endpoints = [*endpoints, console.endpoint]
        print(_welcome(loaded, endpoints), flush=True)
        if ready_file is not None:
            write_file(ready_file, _ready(endpoints))
        _tell_systemd("READY=1")

    try:
        if (workers := worker_count(settings.server.workers)) > 1:
            _supervise(loaded, reread, workers, announce, console)
        else:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(_serve(loaded, reread, announce, console))
    finally:
        if console is not None:
            console.close()
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def _make_folder_of_mail(settings: Settings) -> list[str]:
    """Make it if it isn't there. Gives a warning if it must have been there before."""
    lost = lost_folder_of_mail(settings)
    make_folder_of_mail(settings)
    if lost is None:
        return []
    return [
        f"The folder of mail {lost} wasn't there, and was made anew: it is empty. If there is mail"
        " for it, as on a disk that isn't mounted, stop the server and put that there"
    ]


def _listens_already(settings: Settings, ports: Sequence[int]) -> bool:
    """Whether a server with the same data folder listens on one of these ports."""
    try:
        return any(row.get("port") in ports for row in ask(settings.admin_socket, "addresses"))
    except NoAnswer:
        return False


def worker_count(wanted: int | Literal["auto"]) -> int:
    """How many worker processes there are to be; 1: no others than this one."""
    if not hasattr(os, "fork"):
        if wanted not in (1, "auto"):
            log.warning("server.workers = %d: not on this system, there will be one", wanted)
        return 1
    return usable_cores() if wanted == "auto" else wanted


def _supervise(
    loaded: Loaded,
    reread: Callable[[], Loaded],
    workers: int,
    announce: Callable[[Sequence[Endpoint]], None],
    console: ConsoleProcess | None,
) -> None:
    first_start.make_databases(loaded.settings)
    bound = bind_all(loaded.settings, workers)
    try:
        supervisor = Supervisor(loaded, reread, bound, workers, _loop_factory(), console=console)
        supervisor.run(lambda: announce(supervisor.endpoints), lambda: _tell_systemd("STOPPING=1"))
    finally:
        close_all(bound)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(
    loaded: Loaded,
    reread: Callable[[], Loaded],
    announce: Callable[[Sequence[Endpoint]], None],
    console: ConsoleProcess | None,
) -> None:
    """Run the server in this process alone."""
    bound = metrics.bind(loaded.settings)
    try:
        service = Service(loaded, reread)
        answers = SingleProcessAdmin(service)
        stopping = asyncio.Event()
        _heed_signals(service, stopping, console)
        await service.open()
    except BaseException:
        metrics.close(bound)
        raise
    tune_collector()
    thread: metrics.EndpointThread | None = None
    watching: asyncio.Task[None] | None = None
    try:
        if service.metrics is not None:
            thread = metrics.of_one_process(loaded.settings, bound, service)
            service.endpoints += [endpoint for endpoint, _ in bound]
        await answers.open()
        announce(service.endpoints)
        if console is not None:
            watching = asyncio.get_running_loop().create_task(console.watch())
        await stopping.wait()
        _tell_systemd("STOPPING=1")
        await service.give_notice()
    finally:
        if watching is not None and console is not None:
            watching.cancel()
            console.stop()
        await service.close()
        await answers.close()
        if thread is not None:
            thread.stop()
        metrics.close(bound)
        _ignore_signals()
    log.info("stopped")


def _heed_signals(
    service: Service, stopping: asyncio.Event, console: ConsoleProcess | None
) -> None:
    first = FirstSignal()

    def stop(number: int) -> None:
        if first.is_again(number):
            return
        if stopping.is_set():
            log.warning("second signal: ending at once")
            logging.shutdown()
            os._exit(128 + number)
        log.info("%s: stopping", signal.Signals(number).name)
        first.came(number)
        stopping.set()

    def reload(_: int) -> None:
        service.reload()
        if console is not None:
            console.restart()

    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            _on_signal(getattr(signal, name), stop)
    if hasattr(signal, "SIGHUP"):
        _on_signal(signal.SIGHUP, reload)


def _ignore_signals() -> None:
    loop = asyncio.get_running_loop()
    for name in ENDINGS:
        with suppress(NotImplementedError, AttributeError):
            # Else the loop's end would give it its default back.
            loop.remove_signal_handler(getattr(signal, name))
    ignore_further()


def _on_signal(number: signal.Signals, function: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, function, number)
    except NotImplementedError:  # Windows
        signal.signal(number, lambda n, _: loop.call_soon_threadsafe(function, n) and None)


def _tell_systemd(state: str) -> None:
    """The service manager's notification protocol; nothing where there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address)
    except OSError as error:
        log.warning("the service manager can't be told %s: %s", state, error)


def _ready(endpoints: Sequence[Endpoint]) -> bytes:
    listed = address_rows(endpoints)
    return json.dumps({"pid": os.getpid(), "listening": listed}).encode() + b"\n"


def command_name() -> str:
    """How this program can be called again from where the user is."""
    found = shutil.which("restante")
    called = Path(sys.argv[0])
    if found and called.exists() and Path(found).samefile(called):
        return "restante"
    try:
        return str(called.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(called)


def _options(loaded: Loaded) -> str:
    """The options that lead another command to the same accounts."""
    if loaded.file is not None:
        return f"--config {loaded.file}"
    try:
        return f"--data {loaded.settings.server.data.relative_to(Path.cwd())}"
    except ValueError:
        return f"--data {loaded.settings.server.data}"


def _first_account(loaded: Loaded, password: str) -> str:
    name = first_start.FIRST_ACCOUNT
    return (
        f"First account: {name}, password {password}\n"
        f"It is shown this once. To change it: {command_name()} user passwd {name}"
        f" {_options(loaded)}\n"
    )


def _first_administrator(loaded: Loaded, password: str) -> str:
    name = first_start.FIRST_ADMINISTRATOR
    return (
        f"The console's first login: {name}, password {password}\n"
        f"It is shown this once. To change it: {command_name()} console passwd {name}"
        f" {_options(loaded)}\n"
    )


def _welcome(loaded: Loaded, endpoints: Sequence[Endpoint]) -> str:
    lines = [f"Restante {__version__} serves the mail in {shown_place(loaded.settings)}", ""]
    console = []
    width = max([5, *(len(each.protocol) for each in endpoints)])
    for each in endpoints:
        command = "STLS" if each.protocol == "POP3" else "STARTTLS"
        words = _TLS_WORDS[each.tls].format(command=command)
        if each.protocol == "HTTP":
            scheme = "http" if each.tls == "none" else "https"
            console.append(f"The console: {scheme}://{each.address}/")
            continue
        lines.append(f"  {each.protocol:{width}} {each.address:22} {words}".rstrip())
    if loaded.file is None:  # with one there are many accounts, and nobody at the screen
        lines += ["", f"Try it, from another terminal: {command_name()} try {_options(loaded)}"]
    if console:
        lines += ["", *console]
    return "\n".join([*lines, "", "Ctrl-C stops it."]) + "\n"
