"""How bytes move: one HTTP session, its credentials, retries and limits.

May import `wire` and what everybody may use.
"""

from aiowandb.net.batching import FATAL, BatchSize, ask_page, ask_together, is_everybodys
from aiowandb.net.session import Session
from aiowandb.net.spool import Spool
from aiowandb.net.traffic import Traffic, part_of
from aiowandb.net.transfer import Piece
from aiowandb.net.waits import Waiting

__all__ = [
    "FATAL",
    "BatchSize",
    "Piece",
    "Session",
    "Spool",
    "Traffic",
    "Waiting",
    "ask_page",
    "ask_together",
    "is_everybodys",
    "part_of",
]
