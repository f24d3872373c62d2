"""Fast decoding of JSON rows into columns, with a struct type made for the rows at hand.

The rows of a run, and often of a project, have the same keys. The first page is decoded in
the general way, and its keys, their nesting and the types of their values are learned. A
struct type with just these fields then decodes the next pages without a dict per row. A page
that does not fit is decoded in the general way again, so nothing is lost, and learned from.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Union

import msgspec
import pyarrow as pa

from aiowandb.errors import ServerError
from aiowandb.history.columns import columns_to_batch, rows_to_batch
from aiowandb.wire import lenient
from aiowandb.wire.rows import STEP

# What was learned of each key: the types of its values, or the same for the keys below it.
Learned = dict[str, "set[type] | Learned"]

_FIELDS: dict[type, Any] = {
    int: int,
    float: float,
    bool: bool,
    str: str,
    list: list[Any],
    dict: dict[str, Any],
}
# A type with more keys, or with many more than a page has, costs more than it saves.
_MAX_KEYS = 2_000
# So does one that is nested deeper: each value of each row is looked up level by level.
_MAX_DEPTH = 16
_MAX_UNUSED_RATIO = 4
# Integers stay exact, also beyond 64 bits.
_decode: Callable[[str], list[dict[str, Any]]] = msgspec.json.Decoder(list[Any]).decode


def decode_rows(texts: Sequence[str]) -> list[dict[str, Any]]:
    """The rows as nested dicts, in step order; a row without a step goes first."""
    try:
        rows = _decode(f"[{','.join(texts)}]")
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        rows = [lenient.loads(text) for text in texts]
    try:
        rows.sort(key=lambda row: row.get(STEP, -1))
    except (AttributeError, TypeError) as error:
        raise ServerError(f"W&B returned rows that are not objects: {error}.", error) from error
    return rows


class RowDecoder:
    """Decodes pages of similar rows, of one run or of many. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._learned: Learned = {}
        self._shape: Shape | None = None

    def batch(self, texts: Sequence[str], text_keys: Collection[str] = ()) -> pa.RecordBatch:
        """The rows as columns, in step order; strings were logged under `text_keys`."""
        if shape := self._shape:
            try:
                batch = shape.batch(texts, text_keys)
            except msgspec.MsgspecError:
                pass
            else:
                if batch.num_columns * _MAX_UNUSED_RATIO < len(shape):
                    with self._lock:
                        self._forget()
                return batch
        rows = decode_rows(texts)
        with self._lock:
            self._learn(rows)
        return rows_to_batch(rows, text_keys=text_keys)

    def _learn(self, rows: Sequence[dict[str, Any]]) -> None:
        fits = all(_learn_row(self._learned, row) for row in rows)
        # Before a type is made of them: that alone takes a second for very many keys.
        fits = fits and _count_keys(self._learned) <= _MAX_KEYS
        if fits and self._learned.get(STEP) == {int} and len(self._learned) > 1:
            try:
                self._shape = Shape(self._learned)
            except (ValueError, msgspec.ValidationError):
                fits = False  # names that no field can have, or that two keys share
        if not self._shape or not fits:
            self._forget()

    def _forget(self) -> None:
        self._learned, self._shape = {}, None


class Shape:
    """The struct type of rows, and where in it each column is."""

    def __init__(self, learned: Learned) -> None:
        self._paths: dict[str, str] = {STEP: ""}
        self._media: list[str] = []
        self._nests: list[_Nest] = []
        self._numbers: set[str] = set()
        self._row = self._type(learned, "", "")
        self._rows = msgspec.json.Decoder(list[self._row])  # type: ignore[name-defined]
        self._getters = {name: attrgetter(path) for name, path in self._paths.items()}

    def __len__(self) -> int:
        return len(self._paths)

    def batch(self, texts: Sequence[str], text_keys: Collection[str] = ()) -> pa.RecordBatch:
        """The rows as columns; a `MsgspecError` if they have another shape."""
        rows = self._decode(texts)
        if not rows:
            raise msgspec.ValidationError("there are no rows")
        # Column by column: a tuple per row would keep the garbage collector busy.
        columns = {name: list(map(get, rows)) for name, get in self._getters.items()}
        for name in self._media:
            if any(type(value) is dict and "_type" not in value for value in columns[name]):
                raise msgspec.ValidationError(f"{name} is an object")
        for nest in self._nests:
            if None in columns[nest.leaf]:
                nest.check(rows)
        steps = columns[STEP]
        if any(map(int.__gt__, steps, steps[1:])):
            order = sorted(range(len(steps)), key=steps.__getitem__)
            columns = {name: [column[i] for i in order] for name, column in columns.items()}
        return columns_to_batch(columns, self._numbers, text_keys)

    def _decode(self, texts: Sequence[str]) -> list[msgspec.Struct]:
        text = f"[{','.join(texts)}]"
        try:
            return self._rows.decode(text)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            # Bare NaN and the like, which few rows have.
            return [msgspec.convert(lenient.loads(text), self._row) for text in texts]

    def _type(self, learned: Learned, name: str, path: str) -> type[msgspec.Struct]:
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for i, (key, kind) in enumerate(learned.items()):
            if isinstance(kind, dict):
                inner = self._type(kind, f"{name}{key}.", f"{path}f{i}.")
                absent = inner()
                fields.append((f"f{i}", inner, absent))
                leaf = next(n for n in self._paths if n.startswith(f"{name}{key}."))
                self._nests.append(_Nest(leaf, attrgetter(f"{path}f{i}"), absent))
                continue
            if name + key in self._paths and name + key != STEP:
                raise msgspec.ValidationError(f"{name}{key} is a duplicate")
            self._paths[name + key] = f"{path}f{i}"
            if dict in kind:
                self._media.append(name + key)
            if name + key == STEP:
                fields.append((f"f{i}", int))
            else:
                # A metric that has only had integers so far may yet be 0.5.
                wide = kind | {int, float} if kind & {int, float} else kind
                if wide == {int, float}:
                    self._numbers.add(name + key)
                types = [_FIELDS[one] for one in wide]
                fields.append((f"f{i}", Union[(*types, None)], None))
        return msgspec.defstruct(
            "Row",
            fields,
            rename={f"f{i}": key for i, key in enumerate(learned)},
            forbid_unknown_fields=True,
            frozen=True,
            gc=False,
            kw_only=True,
        )


class _Nest(NamedTuple):
    """An object with keys: one of its leaves, how to get it, and its value where it is absent."""

    leaf: str
    of: Callable[[Any], Any]
    absent: msgspec.Struct

    def check(self, rows: Sequence[msgspec.Struct]) -> None:
        """Refuse an empty object: it is a value, and not the same as an absent one."""
        absent = self.absent
        for found in map(self.of, rows):
            if found is not absent and found == absent:
                raise msgspec.ValidationError("an empty object")


def _learn_row(learned: Learned, row: dict[str, Any], depth: int = 1) -> bool:
    """Learn from this row; False if it contradicts the others, or is nested too deeply."""
    if depth > _MAX_DEPTH:
        return False
    for key, value in row.items():
        kind = type(value)
        if kind is dict and value and "_type" not in value:
            below = learned.setdefault(key, {})
            if not isinstance(below, dict) or not _learn_row(below, value, depth + 1):
                return False
        else:
            types = learned.setdefault(key, set())
            if isinstance(types, dict):
                return False
            if value is not None:
                types.add(kind)
    return True


def _count_keys(learned: Learned) -> int:
    return sum(_count_keys(kind) if isinstance(kind, dict) else 1 for kind in learned.values())
