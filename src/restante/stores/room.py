"""Whether a maildrop has room for another message, and for how long: rules of every store."""

from __future__ import annotations

from restante.accounts.account import Account, Quota
from restante.stores.contract import OverQuota, Usage

NO_QUOTA = Quota()
"""Limits nothing."""


DAY = 86_400.0


def check_days(name: str, days: float) -> float:
    """`days`, or ValueError if that is less than 0."""
    if not days >= 0:
        raise ValueError(f"{name}={days!r}: allowed is days, 0 or more")
    return days


def quota_for(account: Account, default: Quota) -> Quota | None:
    """What the account's maildrop may hold; None if nothing limits it.

    default: the store's quota, which holds where the account's says nothing.
    """
    quota = default if account.quota is None else account.quota.over(default)
    return quota if quota.octets or quota.messages else None


def check_room(quota: Quota, usage: Usage, octets: int, messages: int = 1) -> None:
    """Raise OverQuota unless `messages` of so many octets fit into a maildrop that has `usage`.

    A message of 0 octets counts as one of 1: a full maildrop takes none of unknown size.
    """
    octets = max(octets, messages)
    if quota.octets and usage.octets + octets > quota.octets:
        text = f"{usage.octets} of {quota.octets} octets used, no room for {octets} more"
        raise OverQuota(f"over quota: {text}", never=octets > quota.octets)
    if quota.messages and usage.messages + messages > quota.messages:
        text = f"{usage.messages} of {quota.messages} messages"
        raise OverQuota(f"over quota: {text}", never=messages > quota.messages)
