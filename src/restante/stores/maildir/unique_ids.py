"""Which unique-id each message of a Maildir has."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress

from restante.protocol.listing import as_unique_id
from restante.stores.maildir.columns import Draft, Rows
from restante.stores.maildir.file_names import base_name, own_unique_id


def name_new_ones(draft: Draft, old: Rows, pins: Mapping[str, str]) -> bool:
    """Give those messages past `draft.keep` that have none their unique-ids.

    False, and nothing done, when a wish is another's: then all must be looked at.
    """
    ids = draft.unique_ids
    taken = set(ids)
    given = ids.copy()
    for at, (name, unique_id) in enumerate(zip(draft.names, ids, strict=True)):
        if unique_id:
            continue
        base = base_name(name)
        wish = given[at] = pins.get(base) or own_unique_id(base)
        if wish in taken or (draft.keep and old.unique_ids.has(wish, draft.keep)):
            return False
        taken.add(wish)
    draft.unique_ids = given
    return True


def name_all(
    draft: Draft, pins: Mapping[str, str], foreign: Mapping[str, str] | None
) -> dict[str, str]:
    """Give each message of a draft that keeps nothing its unique-id; returns what has to be
    pinned.

    A pinned one comes first, then the one it has, then `foreign`, then its own. A second
    message with the same one gets a digest, which is pinned, so that it keeps it when the
    first is removed.
    """
    names, ids = draft.names, draft.unique_ids
    taken: set[str] = set()
    wanting = bytearray(len(ids))
    if pins:
        ids[:] = [pins.get(base_name(name)) or had for name, had in zip(names, ids, strict=True)]
    for row, unique_id in enumerate(ids):
        if not unique_id or unique_id in taken:
            wanting[row] = 1
        else:
            taken.add(unique_id)
    to_pin: dict[str, str] = {}
    everything = foreign is not None
    for row, name in compress(enumerate(names), wanting):
        base = base_name(name)
        own = own_unique_id(base)
        wish = ids[row] or (foreign or {}).get(base) or own
        unique_id, copy = own if wish is own else as_unique_id(wish), 1
        while unique_id in taken:
            copy += 1
            unique_id = as_unique_id(f"{wish}\0{base}\0{copy}")
        taken.add(unique_id)
        ids[row] = unique_id
        if unique_id != own and not everything:
            to_pin.setdefault(base, unique_id)
    if not to_pin and not everything:
        return {}
    first: dict[str, str] = {}
    for name, unique_id in zip(names, ids, strict=True):
        base = base_name(name)
        if everything or base in to_pin:
            first.setdefault(base, unique_id)
    return {
        base: unique_id
        for base, unique_id in first.items()
        if pins.get(base) != unique_id and (everything or to_pin[base] == unique_id)
    }
