"""The command's fixtures: each test in a folder of its own, with no settings in the environment."""

from tests.app.conftest import call, folder

__all__ = ["call", "folder"]
