"""Which unique-id each message of a Maildir has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import compress

from restante.protocol.listing import as_unique_id
from restante.stores.maildir.columns import Draft, Rows
from restante.stores.maildir.file_names import base_name, own_unique_id


def name_new(
    draft: Draft,
    old: Rows,
    pins: Mapping[str, str],
    foreign: Mapping[str, str] | None,
    digest: Callable[[int], str],
    *,
    trusted: bool,
) -> dict[str, str]:
    """Give the messages past `draft.keep` their unique-ids; returns what has to be pinned.

    A pinned one comes first, then the one that the message has, then `foreign`, then its own.
    A second message with the same one gets a digest of it. Messages that have or had one base
    name are told apart by what they hold, and always pinned: each keeps its unique-id when
    the others are gone.
    old: the rows that the draft keeps some of. foreign: by base name; all messages are pinned
    where there are such. digest: of the message that was added at this place. trusted: the
    unique-ids that messages have are theirs, for none was pinned since.
    """
    ids, namesakes = draft.unique_ids, draft.namesakes
    had_namesakes = {key.partition("/")[0] for key in pins if "/" in key}
    chosen = bytearray(not (trusted and has) for has in ids)
    for at in namesakes:
        chosen[at] = 1
    taken = {has for has, again in zip(ids, chosen, strict=True) if not again}
    told_apart: dict[int, str] = {}  # keys of those that are, by place

    def is_taken(unique_id: str) -> bool:
        return unique_id in taken or bool(draft.keep and old.unique_ids.has(unique_id, draft.keep))

    def give(at: int, unique_id: str, key: str, own: str) -> None:
        ids[at] = unique_id
        taken.add(unique_id)
        if foreign is not None or at in told_apart or unique_id != own:
            to_pin.setdefault(key, unique_id)  # the first of two that are alike

    to_pin: dict[str, str] = {}
    wanting = bytearray(len(ids))
    if not (pins or namesakes or any(ids)):  # nothing to be wished for
        wanting, chosen = chosen, wanting
    for at, name in compress(enumerate(draft.names), chosen):
        base = key = base_name(name)
        if at in namesakes or base in had_namesakes:
            key = told_apart[at] = f"{base}/{digest(at)}"
        wish = pins.get(key) or ids[at]
        if not wish or is_taken(wish):
            wanting[at] = 1
        else:
            give(at, wish, key, base if wish == base else own_unique_id(base))
    for at, name in compress(enumerate(draft.names), wanting):
        base = base_name(name)
        apart = told_apart.get(at)
        key, own = (base, own_unique_id(base)) if apart is None else (apart, apart)
        wish = pins.get(key) or ids[at] or (foreign and foreign.get(base)) or own
        unique_id, copy = wish if wish is own and apart is None else as_unique_id(wish), 1
        while is_taken(unique_id):
            copy += 1
            unique_id = as_unique_id(f"{wish}\0{base}\0{copy}")
        give(at, unique_id, key, own)
    return {key: has for key, has in to_pin.items() if pins.get(key) != has}
