"""A run's summary: a mapping that also accepts dotted names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Generic, TypeVar, overload

from aiowandb.arguments import shown
from aiowandb.errors import UsageError
from aiowandb.wire.dotted import find

# What `update` returns: something to await where the run is async.
S = TypeVar("S")


class Summary(MutableMapping[str, Any], Generic[S]):
    """The last, best or chosen value of each metric.

    Nested values can be accessed in two ways:

    >>> summary = Summary({"val": {"loss": 0.1}})
    >>> summary["val"]["loss"], summary["val.loss"]
    (0.1, 0.1)
    """

    @overload
    def __init__(self: Summary[None], values: dict[str, Any]) -> None: ...

    @overload
    def __init__(self, values: dict[str, Any], save: Callable[[], S]) -> None: ...

    def __init__(self, values: dict[str, Any], save: Callable[[], Any] = lambda: None) -> None:
        # Scripts written for wandb use this name for the plain dict.
        self._json_dict = values
        self._save = save

    def update(  # type: ignore[override] # a mapping's own returns nothing
        self, values: Mapping[str, Any] | None = None, /, **more: Any
    ) -> S:
        """Set values, then send all changes of the run, like `run.update()`.

        >>> await run.summary.update({"accuracy": 0.9})
        """
        try:
            changed = dict(values or {}, **more)
        except (TypeError, ValueError):
            raise UsageError(
                f"values must be a mapping of names to values, like a dict, not {shown(values)}."
            ) from None
        super().update(changed)
        saved: S = self._save()
        return saved

    def __getitem__(self, key: str) -> Any:
        holder, last = self._locate(key)
        return holder[last]

    def __setitem__(self, key: str, value: Any) -> None:
        holder, last = self._locate(key)
        holder[last] = value

    def __delitem__(self, key: str) -> None:
        holder, last = self._locate(key)
        del holder[last]

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        holder, last = self._locate(key)
        return last in holder

    def __iter__(self) -> Iterator[str]:
        return iter(self._json_dict)

    def __len__(self) -> int:
        return len(self._json_dict)

    def __repr__(self) -> str:
        return repr(self._json_dict)

    def _locate(self, key: str) -> tuple[dict[str, Any], str]:
        """The dict that has the key, and its name there; a literal dotted key takes precedence."""
        if not isinstance(key, str):
            raise UsageError(f"A key of a summary must be a string, not {shown(key)}.")
        found = find(self._json_dict, key)
        return found or (self._json_dict, key)
