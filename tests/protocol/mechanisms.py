"""The mechanisms that need nothing but an account and its password."""

from __future__ import annotations

from restante.protocol.mechanisms import MechanismInfo
from restante.sasl.cram_md5 import CRAM_MD5
from restante.sasl.login import LOGIN
from restante.sasl.plain import PLAIN

BASIC_MECHANISMS: dict[str, MechanismInfo] = {info.name: info for info in (PLAIN, LOGIN, CRAM_MD5)}
