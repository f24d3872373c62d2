"""How bytes move: one HTTP session, its credentials, retries and limits.

May import `wire` and what everybody may use.
"""

from .session import Session
from .traffic import Traffic

__all__ = ["Session", "Traffic"]
