"""Ports that stay free, for servers that are killed and started again."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port to listen on, now and again, which is none of those that the system chooses.

    One of those may go to another test meanwhile, or to a client that asks for the server while
    it is gone, and is then connected to itself.
    """
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(12_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
