"""Opaque ids on the wire: base64 of a type and what names the thing, as W&B's are."""

from __future__ import annotations

import base64
import binascii

from aiowandb_server.errors import RefusedError


def encode(kind: str, *parts: str | int) -> str:
    return base64.b64encode(":".join([kind, *map(str, parts)]).encode()).decode()


def row_id(kind: str, text: str) -> int:
    """The row id in an id made by `encode(kind, row_id)`. Raises a 404."""
    found, _, number = _decode(text).rpartition(":")
    if found == kind and number.isascii() and number.isdecimal() and len(number) < 19:
        return int(number)
    raise RefusedError(f"{kind} {text!r} not found", 404)


def names_of_run(text: str) -> tuple[str, str, str] | None:
    """Run, project and entity in an id of W&B's form, `Run:v1:<run>:<project>:<entity>`."""
    names = _decode(text)
    if not names.startswith("Run:v1:"):
        return None
    run, *rest = names.removeprefix("Run:v1:").rsplit(":", 2)
    return (run, rest[0], rest[1]) if len(rest) == 2 and all(rest) else None


def _decode(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
