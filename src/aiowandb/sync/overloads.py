"""Methods of the synchronous classes whose signatures type checkers cannot derive.

`awaited` and `iterated` carry a signature over, but not its overloads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from aiowandb import api
from aiowandb.choices import EventStream
from aiowandb.sync.wrapping import awaited, iterated

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

S = TypeVar("S")


class RunRows:
    """How the rows of a run are read."""

    if TYPE_CHECKING:

        @overload
        def history(
            self,
            samples: int = 500,
            keys: Sequence[str] | None = None,
            x_axis: str = "_step",
            stream: EventStream = "default",
            *,
            pandas: Literal[False],
            fresh: bool = False,
        ) -> list[dict[str, Any]]: ...

        @overload
        def history(
            self,
            samples: int = 500,
            keys: Sequence[str] | None = None,
            x_axis: str = "_step",
            stream: EventStream = "default",
            *,
            pandas: Literal[True] = True,
            fresh: bool = False,
        ) -> pd.DataFrame: ...

        def history(self, *args: Any, **kwargs: Any) -> Any: ...

        @overload
        def scan_history(
            self,
            keys: Sequence[str] | None = None,
            page_size: int = 1000,
            min_step: int | None = None,
            max_step: int | None = None,
            *,
            any_key: bool = False,
            exclude: Sequence[str] = (),
            stream: EventStream = "default",
            type: None = None,
        ) -> Iterator[dict[str, Any]]: ...

        @overload
        def scan_history(
            self,
            keys: Sequence[str] | None = None,
            page_size: int = 1000,
            min_step: int | None = None,
            max_step: int | None = None,
            *,
            any_key: bool = False,
            exclude: Sequence[str] = (),
            stream: EventStream = "default",
            type: type[S],
        ) -> Iterator[S]: ...

        def scan_history(self, *args: Any, **kwargs: Any) -> Any: ...

    else:
        history = awaited(api.Run.history)
        scan_history = iterated(api.Run.scan_history, by_page=True)


class RunsSamples:
    """How samples of many runs are read."""

    if TYPE_CHECKING:

        @overload
        def histories(
            self,
            samples: int = 500,
            keys: Sequence[str] | None = None,
            x_axis: str = "_step",
            format: Literal["default"] = "default",
            stream: EventStream = "default",
        ) -> list[dict[str, Any]]: ...

        @overload
        def histories(
            self,
            samples: int = 500,
            keys: Sequence[str] | None = None,
            x_axis: str = "_step",
            *,
            format: Literal["pandas"],
            stream: EventStream = "default",
        ) -> pd.DataFrame: ...

        @overload
        def histories(
            self,
            samples: int = 500,
            keys: Sequence[str] | None = None,
            x_axis: str = "_step",
            *,
            format: Literal["polars"],
            stream: EventStream = "default",
        ) -> pl.DataFrame: ...

        def histories(self, *args: Any, **kwargs: Any) -> Any: ...

    else:
        histories = awaited(api.Runs.histories)
