"""Faults: POP3 servers that fail on purpose, in one line each.

    faults = Faults(Reset("RETR", after=100), LoginFails(code="IN-USE", once=True))
    server = Pop3Server(accounts=…, store=faults.wrap_store(store), port=0)
    faults.attach(server)

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING, Any

from restante.public import load

if TYPE_CHECKING:
    from restante.testing.faults.capabilities import (
        Without,
    )
    from restante.testing.faults.commands import (
        BrokenLines,
        BrokenPipelining,
        LineLimit,
    )
    from restante.testing.faults.connections import (
        BrokenStls,
        Close,
        Coalesce,
        ConnectionReset,
        CutHandshake,
        Delay,
        Drip,
        HalfClose,
        Hang,
        NoCloseNotify,
        OldTls,
        Reset,
        Split,
    )
    from restante.testing.faults.fault import (
        CommandFault,
        Fault,
        FaultError,
    )
    from restante.testing.faults.faults import (
        Faults,
        Fired,
        Missed,
    )
    from restante.testing.faults.logins import (
        BrokenMechanism,
        LoginFails,
        TokenExpires,
    )
    from restante.testing.faults.maildrops import (
        ChangedUniqueId,
        DeletesAtOnce,
        DeletionForgotten,
        Gone,
        HugeMessage,
        LeaseKept,
        LongUniqueId,
        ManyMessages,
        NewMail,
        NoFinalCrlf,
        NoLease,
        NoUniqueId,
        NumberGap,
        QuitFails,
        ReusedUniqueId,
        SameUniqueId,
        Unstuffed,
        WrongOctets,
        WrongStat,
    )
    from restante.testing.faults.profiles import (
        Profile,
        ServerProfile,
        load_profile,
        profile_names,
    )
    from restante.testing.faults.replies import (
        ExtraLines,
        LoneLf,
        LongLine,
        NoReply,
        OutOfOrder,
        Raw,
        Refused,
        Text,
        Twice,
    )
    from restante.testing.faults.text import (
        parse,
    )

_HOMES = {
    "capabilities": "Without",
    "commands": "BrokenLines BrokenPipelining LineLimit",
    "connections": "BrokenStls Close Coalesce ConnectionReset CutHandshake Delay Drip HalfClose"
    " Hang NoCloseNotify OldTls Reset Split",
    "fault": "CommandFault Fault FaultError",
    "faults": "Faults Fired Missed",
    "logins": "BrokenMechanism LoginFails TokenExpires",
    "maildrops": "ChangedUniqueId DeletesAtOnce DeletionForgotten Gone HugeMessage LeaseKept"
    " LongUniqueId ManyMessages NewMail NoFinalCrlf NoLease NoUniqueId NumberGap QuitFails"
    " ReusedUniqueId SameUniqueId Unstuffed WrongOctets WrongStat",
    "profiles": "Profile ServerProfile load_profile profile_names",
    "replies": "ExtraLines LoneLf LongLine NoReply OutOfOrder Raw Refused Text Twice",
    "text": "parse",
}


def __getattr__(name: str) -> Any:
    found = globals()[name] = load(__name__, _HOMES, name)
    return found


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "BrokenLines",
    "BrokenMechanism",
    "BrokenPipelining",
    "BrokenStls",
    "ChangedUniqueId",
    "Close",
    "Coalesce",
    "CommandFault",
    "ConnectionReset",
    "CutHandshake",
    "Delay",
    "DeletesAtOnce",
    "DeletionForgotten",
    "Drip",
    "ExtraLines",
    "Fault",
    "FaultError",
    "Faults",
    "Fired",
    "Gone",
    "HalfClose",
    "Hang",
    "HugeMessage",
    "LeaseKept",
    "LineLimit",
    "LoginFails",
    "LoneLf",
    "LongLine",
    "LongUniqueId",
    "ManyMessages",
    "Missed",
    "NewMail",
    "NoCloseNotify",
    "NoFinalCrlf",
    "NoLease",
    "NoReply",
    "NoUniqueId",
    "NumberGap",
    "OldTls",
    "OutOfOrder",
    "Profile",
    "QuitFails",
    "Raw",
    "Refused",
    "Reset",
    "ReusedUniqueId",
    "SameUniqueId",
    "ServerProfile",
    "Split",
    "Text",
    "TokenExpires",
    "Twice",
    "Unstuffed",
    "Without",
    "WrongOctets",
    "WrongStat",
    "load_profile",
    "parse",
    "profile_names",
]
