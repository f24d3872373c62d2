"""What the lists of the facade have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, overload

from aiowandb.api.listing import Listing
from aiowandb.twins import Twin, each

L = TypeVar("L", bound=Listing[Any])
W = TypeVar("W", bound=Twin[Any])


class Indexed(Twin[L], Generic[L, W]):
    """A list whose items are taken by their place: `runs[0]`, `runs[10:20]`."""

    _kind: ClassVar[type[Twin[Any]]]

    @overload
    def __getitem__(self, index: int) -> W: ...

    @overload
    def __getitem__(self, index: slice) -> list[W]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return each(self._kind)(self._portal.call(self._async.__getitem__, index), self._portal)
        return self._kind(self._portal.call(self._async.__getitem__, index), self._portal)
