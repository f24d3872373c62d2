"""How bytes move: one HTTP session, its credentials, retries and limits.

May import `wire` and the layers below it.
"""

from aiowandb.net.batching import FATAL, BatchSize, ask_all, ask_batched, ask_page, is_server_down
from aiowandb.net.memory import MemoryBudget, MemoryQueue, Share
from aiowandb.net.retry import RetryPolicy
from aiowandb.net.session import Session
from aiowandb.net.traffic import Traffic, part_of
from aiowandb.net.transfer import Piece
from aiowandb.net.waits import Waiting

__all__ = [
    "FATAL",
    "BatchSize",
    "MemoryBudget",
    "MemoryQueue",
    "Piece",
    "RetryPolicy",
    "Session",
    "Share",
    "Traffic",
    "Waiting",
    "ask_all",
    "ask_batched",
    "ask_page",
    "is_server_down",
    "part_of",
]
