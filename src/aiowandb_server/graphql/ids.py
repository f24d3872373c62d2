"""Opaque ids on the wire: base64 of a type and what names the thing, as W&B's are."""

from __future__ import annotations

import base64
import binascii

from aiowandb_server.graphql.context import RefusedError


def encode(kind: str, *parts: str | int) -> str:
    return base64.b64encode(":".join([kind, *map(str, parts)]).encode()).decode()


def row_id(kind: str, text: str) -> int:
    """The row id in an id made by `encode(kind, row_id)`. Raises a 404."""
    try:
        found, _, number = base64.b64decode(text, validate=True).decode().rpartition(":")
        if found == kind and number.isascii() and number.isdecimal() and len(number) < 19:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise RefusedError(f"{kind} {text!r} not found", 404)
