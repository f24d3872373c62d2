"""The exceptions of the embedded W&B.

RequestError              the request is answered with a status of 4xx
 ├─ UnknownFieldError     a filter or an order names an unknown field
 └─ FilterError           a filter is invalid
TooManyFieldsError        ends the request in progress
MoreMemoryError           ends it too, until there is more memory for it
DataFolderError           raised when the store is opened
"""

from __future__ import annotations


class RequestError(Exception):
    """The request cannot be answered: `status` is the HTTP status, the message says why.

    All layers raise it: GraphQL reports it with its field, other endpoints as their response.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class DataFolderError(Exception):
    """The data folder cannot be opened or used."""


class TooManyFieldsError(BaseException):
    """The answer is too large.

    Not an `Exception`: GraphQL catches those field by field, and this must end the request.
    """


class MoreMemoryError(BaseException):
    """The request takes more memory than its share: `needed` bytes, as far as is known.

    Not an `Exception`, like `TooManyFieldsError`.
    """

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class UnknownFieldError(RequestError):
    """A filter or an order names something that the rows do not have."""


class FilterError(RequestError):
    """A filter that W&B would reject; the message says which part and why."""
