"""The guard: who may connect, and how soon the next login is looked at. Begin with `guard.py`."""
