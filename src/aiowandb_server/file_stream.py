"""Parses the body of a file stream request into an update of the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from aiowandb_server.errors import RequestError
from aiowandb_server.store import json_text
from aiowandb_server.store.appenders import AppendClaim
from aiowandb_server.store.lines import Stream
from aiowandb_server.store.stream import Chunk, StreamUpdate
from aiowandb_server.text_limits import check_text
from aiowandb_server.typed_stream import HISTORY, TYPED, parse_upload

if TYPE_CHECKING:
    from collections.abc import Mapping

_STREAMS: dict[str, Stream] = {
    HISTORY: "history",
    "wandb-events.jsonl": "events",
    "output.log": "console",
}
_SUMMARY = "wandb-summary.json"
# Line counts and exit codes are returned as a GraphQL `Int`.
_MAX_OFFSET = 2**31 - 1
_EXIT_CODES = range(-(2**31), 2**31)


class _File(msgspec.Struct):
    content: list[Any] = []
    offset: int = 0


class _Appender(msgspec.Struct):
    writer: str
    first: int
    lines: int


class _StreamBody(msgspec.Struct):
    files: dict[str, _File] | None = None
    uploaded: list[str] | None = None
    preempting: bool | None = None
    complete: bool | None = None
    exitcode: int | None = None
    # An extension of W&B's protocol, see `store/appenders.py`.
    appender: _Appender | None = None


_BODY = msgspec.json.Decoder(_StreamBody)


def parse_update(body: bytes, headers: Mapping[str, str]) -> StreamUpdate:
    """The update in this request. Raises RequestError if it is invalid."""
    parsed = _parse_body(body, headers.get("content-type", ""))
    files = parsed.files or {}
    chunks: dict[Stream, Chunk] = {}
    for name, stream in _STREAMS.items():
        if (file := files.get(name)) and file.content:
            if not 0 <= file.offset <= _MAX_OFFSET - len(file.content):
                raise RequestError(f"{name}: {file.offset} is not a line number")
            chunks[stream] = Chunk(file.offset, [_text(line) for line in file.content])
    summary = files.get(_SUMMARY)
    writer = headers.get("x-wandb-async-client-id") or None
    if writer is not None:
        check_text("X-Wandb-Async-Client-Id", writer)
    return StreamUpdate(
        chunks=chunks,
        summary=_text(summary.content[-1]) if summary and summary.content else None,
        preempting=bool(parsed.preempting),
        complete=bool(parsed.complete),
        exit_code=_exit_code(parsed.exitcode),
        writer=writer,
        derive_summary=headers.get("x-wandb-server-side-derived-summary") == "true",
        appender=_appender(parsed.appender) if parsed.appender else None,
    )


def _parse_body(body: bytes, content_type: str) -> _StreamBody:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == TYPED:
        typed = parse_upload(body)
        return _StreamBody(
            {name: _File(lines, offset) for name, (offset, lines) in typed.files.items()},
            preempting=typed.preempting,
            complete=typed.complete,
            exitcode=typed.exit_code,
        )
    if media_type.startswith("application/vnd.wandb.filestream."):
        raise RequestError(f"{media_type} is not supported, of its kind only {TYPED}", 415)
    try:
        return json_text.decode_body(_BODY, body or b"{}")
    except ValueError as error:
        raise RequestError(f"this is not a file stream request: {error}") from error


def _exit_code(code: int | None) -> int | None:
    """The exit code as a signed 32-bit integer; Windows reports those of crashes unsigned."""
    if code is None or code in _EXIT_CODES:
        return code
    if 2**31 <= code < 2**32:
        return code - 2**32
    raise RequestError(f"{code} is not an exit code")


def _appender(body: _Appender) -> AppendClaim:
    check_text("appender: writer", body.writer)
    if not (0 <= body.first < _MAX_OFFSET and 0 <= body.lines < _MAX_OFFSET):
        raise RequestError(
            f"appender: {body.lines} lines from {body.first} on is not a valid range"
        )
    return AppendClaim(body.writer, body.first, body.lines)


def _text(line: object) -> str:
    # Old clients send the row itself in place of its text.
    try:
        return line if isinstance(line, str) else json.dumps(line)
    except RecursionError as error:
        raise RequestError("a line is nested too deeply") from error
