"""The two exceptions of the embedded W&B."""

from __future__ import annotations


class RequestError(Exception):
    """What a client asks for cannot be done; the message says why, `status` is that of HTTP."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class StoreError(Exception):
    """The data folder cannot be opened or used."""
