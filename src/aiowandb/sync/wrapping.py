"""How a class that awaits gets a twin that blocks: member by member, typed, with nothing added.

A twin holds the async object and the portal that its calls run on. Its members are
made from those of the original and keep their signatures and docstrings:

    class Run(Twin[api.Run]):
        name = Shared[str | None]()           # an attribute, read and written
        history = blocking(api.Run.history)   # awaited on the portal
        files = making(api.Run.files, Files)  # called, and the result given as its twin
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
from contextlib import closing
from typing import (
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    cast,
    get_args,
    overload,
)

from aiowandb.arguments import FixedAttributes
from aiowandb.concurrency.tasks import Items, Stream
from aiowandb.sync.portal import Portal

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)
W = TypeVar("W", bound="Twin[Any]")

# What makes something of an original for users of the facade; a twin's class does.
Wrap = Callable[[Any, Portal], R]


class Twin(FixedAttributes, Generic[A]):
    """An async object and the portal that it is driven through."""

    def __init__(self, original: A, portal: Portal) -> None:
        self._async = original
        self._portal = portal

    def __repr__(self) -> str:
        return repr(self._async)


class Shared(Generic[T]):
    """An attribute of the original, read and written there."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        original = get_args(vars(owner)["__orig_bases__"][0])[0]
        self.__doc__ = getattr(original, name).__doc__

    @overload
    def __get__(self, twin: None, owner: type) -> Self: ...

    @overload
    def __get__(self, twin: Twin[Any], owner: type) -> T: ...

    def __get__(self, twin: Twin[Any] | None, owner: type) -> Self | T:
        if twin is None:
            return self
        value: T = getattr(twin._async, self._name)
        return value

    def __set__(self, twin: Twin[Any], value: T) -> None:
        setattr(twin._async, self._name, value)


class Asked(Generic[T]):
    """A method of the original that takes nothing, as an attribute; its result may be wrapped."""

    @overload
    def __init__(self, method: Callable[[Any], Awaitable[T]]) -> None: ...

    @overload
    def __init__(self, method: Callable[[Any], Awaitable[Any]], wrap: Wrap[T]) -> None: ...

    def __init__(
        self, method: Callable[[Any], Awaitable[Any]], wrap: Wrap[Any] | None = None
    ) -> None:
        self._method = method
        self._wrap = wrap or as_it_is
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, twin: None, owner: type) -> Self: ...

    @overload
    def __get__(self, twin: Twin[Any], owner: type) -> T: ...

    def __get__(self, twin: Twin[Any] | None, owner: type) -> Self | T:
        if twin is None:
            return self
        value: T = self._wrap(twin._portal.call(self._method, twin._async), twin._portal)
        return value


class Member(Protocol[P, T_co]):
    """A method, for type checkers: the parameters of the original without its `self`."""

    @overload
    def __get__(self, twin: None, owner: type) -> Self: ...

    @overload
    def __get__(self, twin: Twin[Any], owner: type) -> Callable[P, T_co]: ...


def blocking(method: Callable[Concatenate[Any, P], Awaitable[T]]) -> Member[P, T]:
    """The method, awaited."""
    return giving(method, as_it_is)


def giving(method: Callable[Concatenate[Any, P], Awaitable[Any]], wrap: Wrap[R]) -> Member[P, R]:
    """The method, awaited, and its result wrapped."""

    def call(twin: Twin[Any], /, *args: P.args, **kwargs: P.kwargs) -> R:
        result = twin._portal.call(method, twin._async, *args, **kwargs)
        return wrap(result, twin._portal)

    return _like(method, call)


def making(method: Callable[Concatenate[Any, P], Any], wrap: Wrap[R]) -> Member[P, R]:
    """The method, which does not wait, and its result wrapped."""

    def call(twin: Twin[Any], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return wrap(method(twin._async, *args, **kwargs), twin._portal)

    return _like(method, call)


def iterating(
    method: Callable[Concatenate[Any, P], Stream[Any]], wrap: Wrap[R]
) -> Member[P, Iterator[R]]:
    """The method's items, each wrapped."""

    def call(twin: Twin[Any], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        originals: Any = list(map(_original, args))
        named: Any = {name: _original(argument) for name, argument in kwargs.items()}
        _check(method, twin, *originals, **named)
        items = twin._portal.iterate(cast(Any, method), twin._async, *originals, **named)
        return _wrapped(items, lambda item: (wrap(item, twin._portal),))

    return _like(method, call)


def paged(
    method: Callable[Concatenate[Any, P], Stream[T]], wrap: Wrap[list[R]]
) -> Member[P, Iterator[R]]:
    """The method's items, which cross the threads a page at a time."""

    def pages(*args: Any, **kwargs: Any) -> Stream[Any]:
        return cast(Items[T], method(*args, **kwargs)).pages

    def call(twin: Twin[Any], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        _check(method, twin, *args, **kwargs)
        found = twin._portal.iterate(pages, twin._async, *args, **kwargs)
        return _wrapped(found, lambda page: wrap(page, twin._portal))

    return _like(method, call)


def _wrapped(items: Generator[Any], wrap: Callable[[Any], Iterable[R]]) -> Iterator[R]:
    with closing(items):  # at once, also where a traceback keeps this frame
        for item in items:
            yield from wrap(item)


def _check(method: Any, twin: Twin[Any], *args: Any, **kwargs: Any) -> None:
    """Raise at once for wrong arguments: the method itself is called with the first item."""
    if check := getattr(method, "check_arguments", None):
        check(twin._async, *args, **kwargs)


def each(wrap: Wrap[R]) -> Wrap[list[R]]:
    """Wraps every item of a list."""
    return lambda items, portal: [wrap(item, portal) for item in items]


def _original(argument: Any) -> Any:
    if isinstance(argument, Twin):
        return argument._async
    if isinstance(argument, str | bytes | Mapping) or not isinstance(argument, Iterable):
        return argument
    # Whatever else twins come in is run through here: the thread of the portal may not.
    items = list(argument)
    originals = [_original(item) for item in items]
    is_same = all(map(operator.is_, items, originals))
    return argument if isinstance(argument, Collection) and is_same else originals


def if_any(wrap: Wrap[R]) -> Wrap[R | None]:
    """Wraps what is not None."""
    return lambda result, portal: None if result is None else wrap(result, portal)


def as_it_is(result: Any, _: Portal) -> Any:
    """Wraps nothing."""
    return result


def _like(
    method: Callable[Concatenate[Any, P], Any], call: Callable[Concatenate[Twin[Any], P], R]
) -> Member[P, R]:
    return cast(Member[P, R], functools.wraps(method)(call))
