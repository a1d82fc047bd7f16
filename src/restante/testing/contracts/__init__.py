"""Suites that hold stores and mechanisms to their contract: ours pass them, and yours can.

They need pytest.

    from restante.testing import StoreContract

    class TestMyStore(StoreContract):
        def make_store(self, folder):
            return MyStore(folder)

What `__all__` lists is public; all else in this package may change.
"""

from restante.extras import missing

try:
    import pytest
except ImportError as error:
    raise ImportError(missing("testing", "restante.testing.contracts", "pytest", error)) from error

# Their assertions explain themselves, as in test modules. That must be said before they load.
pytest.register_assert_rewrite(
    "restante.testing.contracts.accounts",
    "restante.testing.contracts.blobs",
    "restante.testing.contracts.mechanisms",
    "restante.testing.contracts.stores",
)

from restante.testing.contracts.accounts import AccountStoreContract  # noqa: E402
from restante.testing.contracts.blobs import BlobsContract  # noqa: E402
from restante.testing.contracts.mechanisms import MechanismContract  # noqa: E402
from restante.testing.contracts.stores.contract import (  # noqa: E402
    MaildropStoreContract,
    StoreContract,
)
from restante.testing.contracts.under_test import StoreUnderTest  # noqa: E402

__all__ = [
    "AccountStoreContract",
    "BlobsContract",
    "MaildropStoreContract",
    "MechanismContract",
    "StoreContract",
    "StoreUnderTest",
]
