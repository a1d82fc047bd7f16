"""Fetches by Python's poplib; see tests/peers/scripted.py for what is expected of it."""

from __future__ import annotations

import os
import poplib
from pathlib import Path

seen = Path("seen").read_text().split("\n") if Path("seen").exists() else []
pop = poplib.POP3("localhost", int(os.environ["POP_PORT"]), timeout=60)
pop.user(os.environ["POP_NAME"])
pop.pass_(os.environ["POP_PASSWORD"])
for line in pop.uidl()[1]:
    number, unique_id = line.decode().split()
    if unique_id in seen:
        continue
    lines = pop.retr(int(number))[1]
    Path(f"out/{int(number):06}").write_bytes(b"".join(each + b"\r\n" for each in lines))
    with Path("seen").open("a") as state:
        state.write(f"{unique_id}\n")
    if not os.environ["POP_KEEP"]:
        pop.dele(int(number))
pop.quit()
