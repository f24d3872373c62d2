"""Builds typed synchronous wrappers of async classes, member by member.

A wrapper holds the async object and the portal that its calls run on. Its members are
made from those of the original and keep their signatures and docstrings:

    class Run(RunFields, SyncWrapper[api.Run]):
        url = Forwarded[str]()                         # an attribute, read and written
        history = awaited(api.Run.history)             # awaited on the portal
        files = called(api.Run.files, wrap=Files)      # called, and the result wrapped
        scan_history = iterated(api.Run.scan_history)  # iterated on the portal
"""

from __future__ import annotations

import functools
import operator
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import AbstractAsyncContextManager, closing
from types import TracebackType
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    cast,
    overload,
)

from aiowandb.api.listing import Listing
from aiowandb.concurrency.portal import Portal
from aiowandb.concurrency.tasks import Items, Stream
from aiowandb.fields import Holder

A = TypeVar("A")
L = TypeVar("L", bound=Listing[Any])
P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)
W = TypeVar("W", bound="SyncWrapper[Any]")
B = TypeVar("B", bound=AbstractAsyncContextManager[Any])

# Wraps an async object for synchronous users; the class of a wrapper is one.
Wrap = Callable[[Any, Portal], R]


class SyncWrapper(Holder[A]):
    """An async object, and the portal that its methods run on."""

    def __init__(self, original: A, portal: Portal) -> None:
        super().__init__(original)
        self._portal = portal

    def _on(self, portal: Portal) -> Any:
        """The object to pass in place of this one in a call on that portal."""
        del portal
        return self._inner

    def __repr__(self) -> str:
        return repr(self._inner)


class SyncBlock(SyncWrapper[B]):
    """Something to be used in a `with` block, which subclasses begin."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.call(self._inner.__aexit__, exc_type, exc, traceback)


class awaited_property(Generic[T]):  # noqa: N801 - is used like `property`
    """A method without arguments as an attribute; its result may be wrapped."""

    @overload
    def __init__(self, method: Callable[[Any], Awaitable[T]]) -> None: ...

    @overload
    def __init__(self, method: Callable[[Any], Awaitable[Any]], wrap: Wrap[T]) -> None: ...

    def __init__(
        self, method: Callable[[Any], Awaitable[Any]], wrap: Wrap[Any] | None = None
    ) -> None:
        self._method = method
        self._wrap = wrap
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, wrapper: None, owner: type) -> Self: ...

    @overload
    def __get__(self, wrapper: SyncWrapper[Any], owner: type) -> T: ...

    def __get__(self, wrapper: SyncWrapper[Any] | None, owner: type) -> Self | T:
        if wrapper is None:
            return self
        value: Any = wrapper._portal.call(self._method, wrapper._inner)
        result: T = self._wrap(value, wrapper._portal) if self._wrap else value
        return result


class SyncMethod(Protocol[P, T_co]):
    """A method, for type checkers: the parameters of the original without its `self`."""

    @overload
    def __get__(self, wrapper: None, owner: type) -> Self: ...

    @overload
    def __get__(self, wrapper: SyncWrapper[Any], owner: type) -> Callable[P, T_co]: ...


@overload
def awaited(method: Callable[Concatenate[Any, P], Awaitable[T]]) -> SyncMethod[P, T]: ...


@overload
def awaited(
    method: Callable[Concatenate[Any, P], Awaitable[Any]], *, wrap: Wrap[R]
) -> SyncMethod[P, R]: ...


def awaited(
    method: Callable[Concatenate[Any, P], Awaitable[Any]], *, wrap: Wrap[Any] | None = None
) -> SyncMethod[P, Any]:
    """Awaits the method, and wraps its result."""

    def call(wrapper: SyncWrapper[Any], /, *args: P.args, **kwargs: P.kwargs) -> Any:
        portal = wrapper._portal
        named: Any = {
            name: argument._on(portal) if isinstance(argument, SyncWrapper) else argument
            for name, argument in kwargs.items()
        }
        result = portal.call(cast(Any, method), wrapper._inner, *args, **named)
        return wrap(result, wrapper._portal) if wrap else result

    return _like(method, call)


@overload
def called(method: Callable[Concatenate[Any, P], T]) -> SyncMethod[P, T]: ...


@overload
def called(method: Callable[Concatenate[Any, P], Any], *, wrap: Wrap[R]) -> SyncMethod[P, R]: ...


def called(
    method: Callable[Concatenate[Any, P], Any], *, wrap: Wrap[Any] | None = None
) -> SyncMethod[P, Any]:
    """Calls the method, which is not async, and wraps its result."""

    def call(wrapper: SyncWrapper[Any], /, *args: P.args, **kwargs: P.kwargs) -> Any:
        result = method(wrapper._inner, *args, **kwargs)
        return wrap(result, wrapper._portal) if wrap else result

    return _like(method, call)


@overload
def iterated(
    method: Callable[Concatenate[Any, P], Stream[T]], *, by_page: bool = False
) -> SyncMethod[P, Iterator[T]]: ...


@overload
def iterated(
    method: Callable[Concatenate[Any, P], Stream[Any]],
    *,
    wrap: Wrap[R],
    collect: Callable[[Iterator[Any]], Iterator[Any]] = iter,
) -> SyncMethod[P, Iterator[R]]: ...


def iterated(
    method: Callable[Concatenate[Any, P], Stream[Any]],
    *,
    wrap: Wrap[Any] | None = None,
    by_page: bool = False,
    collect: Callable[[Iterator[Any]], Iterator[Any]] = iter,
) -> SyncMethod[P, Iterator[Any]]:
    """Iterates over the result of the method and wraps the items.

    With `by_page`, the items cross threads a page at a time, which is faster for many items.
    `collect` may give the iterator more abilities.
    """

    def pages(*args: Any, **kwargs: Any) -> Stream[Any]:
        return cast(Items[Any], method(*args, **kwargs)).pages

    def call(wrapper: SyncWrapper[Any], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        originals: Any = list(map(_original, args))
        named: Any = {name: _original(argument) for name, argument in kwargs.items()}
        _check(method, wrapper, *originals, **named)
        source: Any = pages if by_page else method
        found = wrapper._portal.iterate(source, wrapper._inner, *originals, **named)
        return collect(_items(found, wrapper._portal, wrap, by_page=by_page))

    return _like(method, call)


def _items(
    found: Generator[Any], portal: Portal, wrap: Wrap[Any] | None, *, by_page: bool
) -> Iterator[Any]:
    with closing(found):  # at once, even if a traceback keeps this frame alive
        for item in found:
            if by_page:
                yield from item
            else:
                yield wrap(item, portal) if wrap else item


class SyncListing(SyncWrapper[L], Generic[L, W]):
    """A list that is read page by page, or by index: `runs[0]`, `runs[10:20]`."""

    _kind: ClassVar[type[SyncWrapper[Any]]]

    def __iter__(self) -> Iterator[W]:
        with closing(self.pages()) as pages:
            for page in pages:
                yield from page

    def pages(self) -> Generator[list[W]]:
        """The items in lists of `per_page`, as W&B sends them."""
        with closing(self._portal.iterate(self._inner.pages)) as pages:
            for page in pages:
                yield self._wrap_all(page)

    def count(self) -> int:
        """The number of items."""
        return self._portal.call(self._inner.count)

    def __len__(self) -> int:
        return self.count()

    def to_list(self) -> list[W]:
        """All items."""
        return self._wrap_all(self._portal.call(self._inner.to_list))

    @overload
    def __getitem__(self, index: int) -> W: ...

    @overload
    def __getitem__(self, index: slice) -> list[W]: ...

    def __getitem__(self, index: int | slice) -> W | list[W]:
        if isinstance(index, slice):
            return self._wrap_all(self._portal.call(self._inner.__getitem__, index))
        return self._wrap_all([self._portal.call(self._inner.__getitem__, index)])[0]

    def _wrap_all(self, originals: list[Any]) -> list[W]:
        wrapped: list[Any] = each(self._kind)(originals, self._portal)
        return wrapped


def _check(method: Any, wrapper: SyncWrapper[Any], *args: Any, **kwargs: Any) -> None:
    """Raise for wrong arguments now: the method itself is only called with the first item."""
    if check := getattr(method, "check_arguments", None):
        check(wrapper._inner, *args, **kwargs)


def each(wrap: Wrap[R]) -> Wrap[list[R]]:
    """Wraps every item of a list."""
    return lambda items, portal: [wrap(item, portal) for item in items]


def _original(argument: Any) -> Any:
    if isinstance(argument, SyncWrapper):
        return argument._inner
    if isinstance(argument, str | bytes | Mapping) or not isinstance(argument, Iterable):
        return argument
    # Other iterables are consumed here, as they may not run in the thread of the portal.
    items = list(argument)
    originals = [item._inner if isinstance(item, SyncWrapper) else item for item in items]
    is_same = all(map(operator.is_, items, originals))
    return argument if isinstance(argument, Collection) and is_same else originals


def if_any(wrap: Wrap[R]) -> Wrap[R | None]:
    """Wraps a value that is not None."""
    return lambda result, portal: None if result is None else wrap(result, portal)


def _like(
    method: Callable[Concatenate[Any, P], Any], call: Callable[Concatenate[SyncWrapper[Any], P], R]
) -> SyncMethod[P, R]:
    return cast(SyncMethod[P, R], functools.wraps(method)(call))
