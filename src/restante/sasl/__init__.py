"""SASL: one mechanism a file, and the registry of them."""

from __future__ import annotations

from restante.sasl.contract import MechanismInfo
from restante.sasl.cram_md5 import CRAM_MD5
from restante.sasl.login import LOGIN
from restante.sasl.plain import PLAIN

MECHANISMS: dict[str, MechanismInfo] = {info.name: info for info in (PLAIN, LOGIN, CRAM_MD5)}
"""By name, in the order of announcement: clients that take the first they know get PLAIN."""
