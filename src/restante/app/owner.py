"""When root calls a command, it works as the owner of the data: the server must open its files."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from restante.app.errors import StartError


def owner_of(folder: Path) -> int | None:
    """The user id of the folder's owner if it is another user than root, and we are root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    try:
        owner = folder.stat().st_uid
    except OSError:  # not there yet
        return None
    return owner or None


def become_owner_of(folder: Path, *, keep_root: bool = False) -> None:
    """As root: be the folder's owner from now on, for good. Others stay who they are.

    Without this files of root's would lie among the server's, which couldn't open them.
    keep_root: root stays the real user, so that a child process can be root again.
    """
    owner = owner_of(folder)
    if owner is None:
        return
    import pwd  # noqa: PLC0415 - not everywhere

    try:
        user = pwd.getpwuid(owner)
    except KeyError:  # a number without a name, as in containers
        os.setgroups([])
        gid = folder.stat().st_gid
    else:
        os.initgroups(user.pw_name, user.pw_gid)
        gid = user.pw_gid
    if keep_root:
        os.setegid(gid)
        os.seteuid(owner)
    else:
        os.setgid(gid)
        os.setuid(owner)


def refuse_root(folder: Path, what: str = "start the server", command: str = "serve") -> None:
    """As root: refuse to write another user's data. Raises StartError, which says what to do."""
    owner = owner_of(folder)
    if owner is None:
        return
    import pwd  # noqa: PLC0415 - not everywhere

    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"  # as sudo takes it
    raise StartError(
        f"{folder} belongs to another user, who couldn't open what root would make there:"
        f" {what} by `sudo -u {shlex.quote(name)} restante {command} ...`"
    )
