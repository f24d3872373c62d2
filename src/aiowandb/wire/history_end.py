"""The end of a history, which tells whether another writer adds rows too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from aiowandb.errors import ServerError
from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.graphql import About, Operation
from aiowandb.wire.lenient import Int64

# What W&B's own client asks before it resumes a run.
_HISTORY_END = """
query RunResumeStatus($entity: String, $project: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    bucket(name: $name, missingOk: true) { name historyLineCount historyTail }
  }
}"""
# Two rows with the same step and a larger difference in time are from two writers.
_SAME_MOMENT_S = 0.0005


class HistoryEnd(msgspec.Struct, rename="camel"):
    """How many lines a history has, and the last of them as JSON in a JSON list."""

    name: str | None = None
    history_line_count: Int64 | None = None
    history_tail: str | None = None

    def other_writer(self, lines: int, last: str | None, waiting: Sequence[str] = ()) -> bool:
        """Whether another writer has added to a history of so many lines that ends with `last`.

        It is not known whether the lines in `waiting` have arrived. Fewer lines than expected
        mean nothing: W&B may not have counted all of them yet.
        """
        more = (self.history_line_count or 0) - lines
        if more < 0:
            return False
        if more > len(waiting):
            return True
        expected = waiting[more - 1] if more else last
        return expected is not None and not self._ends_with(expected)

    def last_line(self) -> str | None:
        """The last line, if W&B sent it."""
        try:
            texts = lenient.loads(self.history_tail or "[]")
        except ServerError:
            return None
        return texts[-1] if isinstance(texts, list) and texts and type(texts[-1]) is str else None

    def _ends_with(self, line: str) -> bool:
        last = self.last_line()
        if last is None or last == line:
            return True
        ours, theirs = _decoded(line), _decoded(last)
        our_moment, their_moment = ours.get("_timestamp"), theirs.get("_timestamp")
        if not (isinstance(our_moment, int | float) and isinstance(their_moment, int | float)):
            return ours == theirs
        # W&B may store a row as a different text: step and time tell whose it is.
        same_step = ours.get("_step") == theirs.get("_step")
        return same_step and abs(our_moment - their_moment) < _SAME_MOMENT_S


def history_end(ref: RunRef) -> Operation[HistoryEnd | None]:
    variables = {"entity": ref.entity, "project": ref.project, "name": ref.run}
    path = ("model?", "bucket?")
    return Operation(
        "RunResumeStatus",
        _HISTORY_END,
        variables,
        HistoryEnd,
        path,
        About("bucket", "name", ref.run),
    )


def _decoded(text: str) -> dict[str, Any]:
    try:
        row = lenient.loads(text)
    except ServerError:
        return {}
    return row if isinstance(row, dict) else {}
