"""Defaults that settings share with what they set.

They stand apart so that whoever reads settings needn't load a server, LDAP or TLS for them.
"""

from __future__ import annotations

REMEMBER_SECONDS = 900.0
"""How long a verified password is remembered: a little more than the usual ten minutes
between two polls."""

SCRAM_ITERATIONS = 16_384
"""What RFC 7677 §4 calls the rule of thumb, to the next power of two; 4,096 is its least. Each
login costs the client this much, and the server too where it keeps the password itself."""

EXTERNAL_NAMES = ("email", "cn")
"""Which names of a client's certificate are tried as accounts', and in which order."""

NAME_KINDS = ("email", "dns", "upn", "cn", "uid")
"""All kinds of names in a client's certificate that can be tried."""

LDAP_ATTRIBUTES = {"name": "uid", "display_name": "cn", "email": "mail"}
"""Which attribute gives which part of an account, unless told otherwise."""

LDAP_VERSION_ATTRIBUTES = (
    *("entryCSN", "uSNChanged", "modifyTimestamp"),
    *("pwdChangedTime", "pwdAccountLockedTime"),
)
"""Attributes of which one changes when an entry does: OpenLDAP's, Active Directory's, anybody's."""
