"""The exceptions of the embedded W&B.

RequestError              answered with a status of 4xx
 ├─ UnknownFieldError     in a filter or an order
 └─ FilterError
RefusedError              what is asked for is not there, or not for this user
TooManyFieldsError        ends the request that is under way
StoreError                raised where the store is opened
"""

from __future__ import annotations


class RequestError(Exception):
    """What a client asks for cannot be done; the message says why, `status` is that of HTTP."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class StoreError(Exception):
    """The data folder cannot be opened or used."""


class RefusedError(Exception):
    """A request that cannot be answered; `status` becomes the status of the HTTP answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class TooManyFieldsError(BaseException):
    """An answer grows too large. No Exception: those end a field only, and others follow."""


class UnknownFieldError(RequestError):
    """A filter or an order names something that the rows do not have."""


class FilterError(RequestError):
    """A filter that W&B would refuse; the message says which part and why."""
