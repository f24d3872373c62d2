"""Headers that the user adds to every request for W&B's host, as a gateway in front of it wants.

As in W&B's own client, `WANDB__EXTRA_HTTP_HEADERS` has them as JSON, or a settings file has them
as `x_extra_http_headers`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from aiowandb.errors import UsageError

AUTHORIZATION = "authorization"
PROXY_AUTHORIZATION = "proxy-authorization"
# The names by which W&B's client finds them in the environment.
_VARIABLES = ("WANDB__EXTRA_HTTP_HEADERS", "WANDB_X_EXTRA_HTTP_HEADERS")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!-~]([\t -~]*[!-~])?")
# The request itself decides about these.
_NOT_FOR_USERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "if-range",
        "range",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)


class ExtraHeaders:
    """Headers, whose values may be secrets: the repr has only the names."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | None = None, source: str = "headers") -> None:
        self._values = dict(values or {})
        for name, value in self._values.items():
            if not _NAME.fullmatch(name) or name.lower() in _NOT_FOR_USERS:
                raise UsageError(f"{source} cannot have a header named {name!r}.")
            if not isinstance(value, str) or not _VALUE.fullmatch(value):
                raise UsageError(
                    f"The header {name} in {source} must be a string of ASCII characters,"
                    " without spaces around it."
                )

    def reveal(self) -> dict[str, str]:
        """The headers themselves: only for requests to W&B's host."""
        return dict(self._values)

    @property
    def names(self) -> Collection[str]:
        return self._values.keys()

    def secrets(self) -> Iterator[str]:
        """The values, and what follows a scheme such as `Bearer`."""
        for value in self._values.values():
            yield value
            yield value.rpartition(" ")[2]

    def get(self, name: str) -> str | None:
        """The value of the header with this name, which is in lower case."""
        return next((v for key, v in self._values.items() if key.lower() == name), None)

    def without(self, *names: str) -> ExtraHeaders:
        """The other headers."""
        return ExtraHeaders({k: v for k, v in self._values.items() if k.lower() not in names})

    def __or__(self, others: ExtraHeaders) -> ExtraHeaders:
        """These, and the others that have other names."""
        rest = others.without(*map(str.lower, self._values))
        return ExtraHeaders(self._values | rest.reveal())

    def __repr__(self) -> str:
        return f"ExtraHeaders({', '.join(self._values)})"


def environment_headers(environ: Mapping[str, str], setting: str | None) -> ExtraHeaders:
    """The headers in the environment, or in the setting of a file."""
    for name in _VARIABLES:
        if text := environ.get(name):
            return _parsed(text, name)
    return _parsed(setting, "x_extra_http_headers") if setting else ExtraHeaders()


def _parsed(text: str, source: str) -> ExtraHeaders:
    try:
        values = msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError:
        # The text may have secrets and is not shown.
        raise UsageError(
            f'{source} must be a JSON object of strings, like {{"X-Gateway": "value"}}.'
        ) from None
    return ExtraHeaders(values, source)
