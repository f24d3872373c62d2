"""The body of a file stream request, and what it means for the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from aiowandb_server.errors import RequestError
from aiowandb_server.store import json_text
from aiowandb_server.store.appenders import AppendClaim
from aiowandb_server.store.lines import Stream
from aiowandb_server.store.stream import Chunk, StreamUpdate

if TYPE_CHECKING:
    from collections.abc import Mapping

_STREAMS: dict[str, Stream] = {
    "wandb-history.jsonl": "history",
    "wandb-events.jsonl": "events",
    "output.log": "console",
}
_SUMMARY = "wandb-summary.json"
# Counts of lines and exit codes are a GraphQL `Int` when they go out again.
_MAX_OFFSET = 2**31 - 1
_EXIT_CODES = range(-(2**31), 2**31)


class _File(msgspec.Struct):
    content: list[Any] = []
    offset: int = 0


class _Appender(msgspec.Struct):
    writer: str
    first: int
    lines: int


class _Body(msgspec.Struct):
    files: dict[str, _File] | None = None
    uploaded: list[str] | None = None
    preempting: bool | None = None
    complete: bool | None = None
    exitcode: int | None = None
    # Not W&B's: see `store/appenders.py`.
    appender: _Appender | None = None


_BODY = msgspec.json.Decoder(_Body)


def parse_update(body: bytes, headers: Mapping[str, str]) -> StreamUpdate:
    """What a run says in this request. Raises RequestError if it cannot be understood."""
    try:
        parsed = json_text.decode_body(_BODY, body or b"{}")
    except ValueError as error:
        raise RequestError(f"not a file stream request: {error}") from error
    files = parsed.files or {}
    chunks: dict[Stream, Chunk] = {}
    for name, stream in _STREAMS.items():
        if (file := files.get(name)) and file.content:
            if not 0 <= file.offset <= _MAX_OFFSET - len(file.content):
                raise RequestError(f"{name}: {file.offset} is not a line number")
            chunks[stream] = Chunk(file.offset, [_text(line) for line in file.content])
    summary = files.get(_SUMMARY)
    return StreamUpdate(
        chunks=chunks,
        summary=_text(summary.content[-1]) if summary and summary.content else None,
        preempting=bool(parsed.preempting),
        complete=bool(parsed.complete),
        exit_code=_exit_code(parsed.exitcode),
        writer=headers.get("x-wandb-async-client-id") or None,
        derive_summary=headers.get("x-wandb-server-side-derived-summary") == "true",
        appender=_appender(parsed.appender) if parsed.appender else None,
    )


def _exit_code(code: int | None) -> int | None:
    """The exit code in 32 bits with a sign; Windows has those of crashes without."""
    if code is None or code in _EXIT_CODES:
        return code
    if 2**31 <= code < 2**32:
        return code - 2**32
    raise RequestError(f"{code} is not an exit code")


def _appender(body: _Appender) -> AppendClaim:
    if not (0 <= body.first < _MAX_OFFSET and 0 <= body.lines < _MAX_OFFSET):
        raise RequestError(
            f"appender: {body.lines} lines from {body.first} on is not a valid range"
        )
    return AppendClaim(body.writer, body.first, body.lines)


def _text(line: object) -> str:
    # Old senders put the row itself where its text belongs.
    try:
        return line if isinstance(line, str) else json.dumps(line)
    except RecursionError as error:
        raise RequestError("a line is nested too deeply") from error
