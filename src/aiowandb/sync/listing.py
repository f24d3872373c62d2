"""What the lists of the facade have in common."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, ClassVar, Generic, TypeVar, overload

from aiowandb.api.listing import Listing
from aiowandb.sync.wrapping import Twin, each

L = TypeVar("L", bound=Listing[Any])
W = TypeVar("W", bound=Twin[Any])


class Listed(Twin[L], Generic[L, W]):
    """A list whose items come page by page, or by their place: `runs[0]`, `runs[10:20]`."""

    _kind: ClassVar[type[Twin[Any]]]

    def __iter__(self) -> Iterator[W]:
        with closing(self.pages()) as pages:
            for page in pages:
                yield from page

    def pages(self) -> Generator[list[W]]:
        """The same in lists, as they come from W&B, `per_page` at a time."""
        with closing(self._portal.iterate(self._async.pages)) as pages:
            for page in pages:
                yield self._twins(page)

    def count(self) -> int:
        """How many there are."""
        return self._portal.call(self._async.count)

    def __len__(self) -> int:
        return self.count()

    def to_list(self) -> list[W]:
        """All of them."""
        return self._twins(self._portal.call(self._async.to_list))

    @overload
    def __getitem__(self, index: int) -> W: ...

    @overload
    def __getitem__(self, index: slice) -> list[W]: ...

    def __getitem__(self, index: int | slice) -> W | list[W]:
        if isinstance(index, slice):
            return self._twins(self._portal.call(self._async.__getitem__, index))
        return self._twins([self._portal.call(self._async.__getitem__, index)])[0]

    def _twins(self, originals: list[Any]) -> list[W]:
        twins: list[Any] = each(self._kind)(originals, self._portal)
        return twins
