"""Parses the body of a file stream request into an update of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aiowandb_server.errors import RequestError
from aiowandb_server.store import json_text
from aiowandb_server.store.appenders import AppendClaim
from aiowandb_server.store.lines import Stream
from aiowandb_server.store.stream import Chunk, StreamUpdate
from aiowandb_server.text_limits import check_document, check_text, check_values
from aiowandb_server.typed_stream import HISTORY, TYPED, parse_upload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CONSOLE = "output.log"
_STREAMS: dict[str, Stream] = {
    HISTORY: "history",
    "wandb-events.jsonl": "events",
    _CONSOLE: "console",
}
_SUMMARY = "wandb-summary.json"
# Line counts and exit codes are returned as a GraphQL `Int`.
_MAX_OFFSET = 2**31 - 1
_EXIT_CODES = range(-(2**31), 2**31)


class _File(msgspec.Struct):
    content: list[str] = []
    offset: int = 0


class _OldFile(msgspec.Struct):
    """What old clients send: the row itself in place of its text."""

    content: list[msgspec.Raw] = []
    offset: int = 0


class _Appender(msgspec.Struct):
    writer: str
    first: int
    lines: int


class _Settings(msgspec.Struct, kw_only=True):
    uploaded: list[str] | None = None
    preempting: bool | None = None
    complete: bool | None = None
    exitcode: int | None = None
    # An extension of W&B's protocol, see `store/appenders.py`.
    appender: _Appender | None = None


class _StreamBody(_Settings):
    files: dict[str, _File] | None = None


class _OldBody(_Settings):
    files: dict[str, _OldFile] | None = None


_BODY = msgspec.json.Decoder(_StreamBody)
_OLD_BODY = msgspec.json.Decoder(_OldBody)
_LINE = msgspec.json.Decoder(str)


def parse_update(body: bytes, headers: Mapping[str, str]) -> StreamUpdate:
    """The update in this request. Raises RequestError if it is invalid."""
    parsed = _parse_body(body, headers.get("content-type", ""))
    files = parsed.files or {}
    chunks: dict[Stream, Chunk] = {}
    for name in files.keys() & {*_STREAMS, _SUMMARY}:
        _check_lines(name, files[name].content)
    for name, stream in _STREAMS.items():
        if (file := files.get(name)) and file.content:
            if not 0 <= file.offset <= _MAX_OFFSET - len(file.content):
                raise RequestError(f"{name}: {file.offset} is not a line number")
            chunks[stream] = Chunk(file.offset, file.content)
    summary = files.get(_SUMMARY)
    writer = headers.get("x-wandb-async-client-id") or None
    if writer is not None:
        check_text("X-Wandb-Async-Client-Id", writer)
    return StreamUpdate(
        chunks=chunks,
        summary=summary.content[-1] if summary and summary.content else None,
        preempting=bool(parsed.preempting),
        complete=bool(parsed.complete),
        exit_code=_exit_code(parsed.exitcode),
        writer=writer,
        derive_summary=headers.get("x-wandb-server-side-derived-summary") == "true",
        appender=_appender(parsed.appender) if parsed.appender else None,
    )


def _parse_body(body: bytes, content_type: str) -> _StreamBody:
    media_type = _media_type(content_type)
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
        try:
            return json_text.decode_body(_BODY, body or b"{}")
        except ValueError as error:
            if not isinstance(error.__cause__, msgspec.ValidationError):
                raise
            return _with_texts(json_text.decode_body(_OLD_BODY, body))
    except ValueError as error:
        raise RequestError(f"this is not a file stream request: {error}") from error


def is_typed(headers: Mapping[str, str]) -> bool:
    return _media_type(headers.get("content-type", "")) == TYPED


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _with_texts(body: _OldBody) -> _StreamBody:
    files = {
        name: _File([_text(bytes(line)) for line in file.content], file.offset)
        for name, file in (body.files or {}).items()
    }
    return _StreamBody(
        files,
        uploaded=body.uploaded,
        preempting=body.preempting,
        complete=body.complete,
        exitcode=body.exitcode,
        appender=body.appender,
    )


def _text(line: bytes) -> str:
    if line.startswith(b'"'):
        return json_text.decode_body(_LINE, line)
    return line.decode("utf-8", "replace")


def _check_lines(name: str, lines: Sequence[str]) -> None:
    # They are stored in parts, none of which is much larger than the longest of them.
    longest = max(lines, key=len, default="")
    check_document(f"a line of {name}", longest)
    if name != _CONSOLE:
        for line in lines:
            check_values(f"a line of {name}", line)


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
