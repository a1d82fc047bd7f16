"""Faults: POP3 servers that fail on purpose, in one line each.

    faults = Faults(Reset("RETR", after=100), LoginFails(code="IN-USE", once=True))
    server = Pop3Server(accounts=…, store=faults.wrap_store(store), port=0)
    faults.attach(server)

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING

from restante.public import lazily

if TYPE_CHECKING:
    from restante.testing.faults.capabilities import Without as Without
    from restante.testing.faults.commands import BrokenLines as BrokenLines
    from restante.testing.faults.commands import BrokenPipelining as BrokenPipelining
    from restante.testing.faults.commands import LineLimit as LineLimit
    from restante.testing.faults.connections import BrokenStls as BrokenStls
    from restante.testing.faults.connections import Close as Close
    from restante.testing.faults.connections import Coalesce as Coalesce
    from restante.testing.faults.connections import ConnectionReset as ConnectionReset
    from restante.testing.faults.connections import CutHandshake as CutHandshake
    from restante.testing.faults.connections import Delay as Delay
    from restante.testing.faults.connections import Drip as Drip
    from restante.testing.faults.connections import HalfClose as HalfClose
    from restante.testing.faults.connections import Hang as Hang
    from restante.testing.faults.connections import NoCloseNotify as NoCloseNotify
    from restante.testing.faults.connections import OldTls as OldTls
    from restante.testing.faults.connections import Reset as Reset
    from restante.testing.faults.connections import Split as Split
    from restante.testing.faults.fault import CommandFault as CommandFault
    from restante.testing.faults.fault import Fault as Fault
    from restante.testing.faults.fault import FaultError as FaultError
    from restante.testing.faults.faults import Faults as Faults
    from restante.testing.faults.faults import Fired as Fired
    from restante.testing.faults.faults import Missed as Missed
    from restante.testing.faults.logins import BrokenMechanism as BrokenMechanism
    from restante.testing.faults.logins import LoginFails as LoginFails
    from restante.testing.faults.logins import TokenExpires as TokenExpires
    from restante.testing.faults.maildrops import ChangedUniqueId as ChangedUniqueId
    from restante.testing.faults.maildrops import DeletesAtOnce as DeletesAtOnce
    from restante.testing.faults.maildrops import DeletionForgotten as DeletionForgotten
    from restante.testing.faults.maildrops import Gone as Gone
    from restante.testing.faults.maildrops import HugeMessage as HugeMessage
    from restante.testing.faults.maildrops import LeaseKept as LeaseKept
    from restante.testing.faults.maildrops import LongUniqueId as LongUniqueId
    from restante.testing.faults.maildrops import ManyMessages as ManyMessages
    from restante.testing.faults.maildrops import NewMail as NewMail
    from restante.testing.faults.maildrops import NoFinalCrlf as NoFinalCrlf
    from restante.testing.faults.maildrops import NoLease as NoLease
    from restante.testing.faults.maildrops import NoUniqueId as NoUniqueId
    from restante.testing.faults.maildrops import NumberGap as NumberGap
    from restante.testing.faults.maildrops import QuitFails as QuitFails
    from restante.testing.faults.maildrops import ReusedUniqueId as ReusedUniqueId
    from restante.testing.faults.maildrops import SameUniqueId as SameUniqueId
    from restante.testing.faults.maildrops import Unstuffed as Unstuffed
    from restante.testing.faults.maildrops import WrongOctets as WrongOctets
    from restante.testing.faults.maildrops import WrongStat as WrongStat
    from restante.testing.faults.profiles import Profile as Profile
    from restante.testing.faults.profiles import ServerProfile as ServerProfile
    from restante.testing.faults.profiles import load_profile as load_profile
    from restante.testing.faults.profiles import profile_names as profile_names
    from restante.testing.faults.replies import ExtraLines as ExtraLines
    from restante.testing.faults.replies import LoneLf as LoneLf
    from restante.testing.faults.replies import LongLine as LongLine
    from restante.testing.faults.replies import NoReply as NoReply
    from restante.testing.faults.replies import OutOfOrder as OutOfOrder
    from restante.testing.faults.replies import Raw as Raw
    from restante.testing.faults.replies import Refused as Refused
    from restante.testing.faults.replies import Text as Text
    from restante.testing.faults.replies import Twice as Twice
    from restante.testing.faults.text import parse as parse
else:
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "capabilities": "Without",
            "commands": "BrokenLines BrokenPipelining LineLimit",
            "connections": (
                "BrokenStls Close Coalesce ConnectionReset CutHandshake Delay Drip HalfClose"
                " Hang NoCloseNotify OldTls Reset Split"
            ),
            "fault": "CommandFault Fault FaultError",
            "faults": "Faults Fired Missed",
            "logins": "BrokenMechanism LoginFails TokenExpires",
            "maildrops": (
                "ChangedUniqueId DeletesAtOnce DeletionForgotten Gone HugeMessage LeaseKept"
                " LongUniqueId ManyMessages NewMail NoFinalCrlf NoLease NoUniqueId NumberGap"
                " QuitFails ReusedUniqueId SameUniqueId Unstuffed WrongOctets WrongStat"
            ),
            "profiles": "Profile ServerProfile load_profile profile_names",
            "replies": "ExtraLines LoneLf LongLine NoReply OutOfOrder Raw Refused Text Twice",
            "text": "parse",
        },
    )
