"""Moving house: maildrops from other servers and stores into ours, and out again."""

from typing import TYPE_CHECKING, Any

from restante.public import load

if TYPE_CHECKING:
    from restante.migration.contract import Source, SourceLost, SourceMaildrop
    from restante.migration.move import Migration, Watcher
    from restante.migration.report import AccountReport, Report, Trouble
    from restante.migration.stores import StoreSource

_HOMES = {
    "contract": "Source SourceLost SourceMaildrop",
    "move": "Migration Watcher",
    "report": "AccountReport Report Trouble",
    "stores": "StoreSource",
}
"""The public names, by the module that each comes from."""


def __getattr__(name: str) -> Any:
    found = globals()[name] = load(__name__, _HOMES, name)
    return found


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "AccountReport",
    "Migration",
    "Report",
    "Source",
    "SourceLost",
    "SourceMaildrop",
    "StoreSource",
    "Trouble",
    "Watcher",
]
