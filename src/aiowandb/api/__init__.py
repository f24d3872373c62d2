"""What users hold: `AsyncApi`, `Runs`, `Run`. Thin: the layers below, put together.

May import every layer below; `history`, `export` and `local` only inside functions,
so that what they need is loaded when it is used.
"""

from .client import AsyncApi
from .run import Run
from .runs import Runs

__all__ = ["AsyncApi", "Run", "Runs"]
