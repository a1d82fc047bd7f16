"""Where the configuration says that mail is kept."""

from __future__ import annotations

from restante.app.config.settings import Settings
from restante.stores.maildir.store import Maildir


def make_store(settings: Settings) -> Maildir:
    """Raises ValueError for a template that could lead out of the root."""
    maildrops = settings.maildrops
    return Maildir(
        settings.mail_folder,
        template=maildrops.template,
        unique_ids=maildrops.unique_ids,
        fsync=maildrops.fsync,
    )
