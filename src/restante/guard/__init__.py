"""The door: who may connect, and how soon the next login is looked at. Begin with `door.py`."""
