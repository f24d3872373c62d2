"""Checks the arguments of public functions before anything is sent.

    @checks(samples=integer(1), keys=optional(NAMES), stream=choice(EventStream))
    async def history(self, samples=500, keys=None, stream="default"): ...

Each parameter has a check; a function without one of them cannot be imported. A check returns the
value that the function is called with, or raises a `UsageError` with the name of the argument, its
possible values, and the nearest one.
"""

from __future__ import annotations

import inspect
import operator
import os
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    KeysView,
    Mapping,
    Sequence,
    Set,
)
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, get_args

from aiowandb.errors import UsageError
from aiowandb.suggestions import did_you_mean, nearest

P = ParamSpec("P")
R = TypeVar("R")

# The range of integers in JSON and Arrow.
_MAX_INTEGER = 2**63 - 1
_LONGEST_VALUE = 80


class Check:
    """The possible values of an argument, in words, and a function that converts them.

    `convert` raises `Unfit` for other values. A secret value is not shown in the error.
    """

    def __init__(
        self, what: str, convert: Callable[[Any], Any], *, is_secret: bool = False
    ) -> None:
        self.what = what
        self._convert = convert
        self._is_secret = is_secret

    def __call__(self, name: str, value: Any) -> Any:
        """The converted value; raises a `UsageError` for others."""
        try:
            return self._convert(value)
        except Unfit as unfit:
            given = f"a {type(value).__name__}" if self._is_secret else shown(value)
            said = f"{name} must be {self.what}, not {given}{unfit.hint}"
            raise UsageError(said if said.endswith("?") else f"{said}.") from None


class Unfit(Exception):
    """A value is not valid; the hint continues the sentence about it."""

    def __init__(self, hint: str = "") -> None:
        super().__init__(hint)
        self.hint = hint


def checks(**by_name: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the arguments of a function or a coroutine function, by name."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        if unlike := by_name.keys() ^ (signature.parameters.keys() - {"self", "cls"}):
            raise TypeError(f"{function.__qualname__}: parameters and checks differ in {unlike}")

        def checked(args: Any, kwargs: Any) -> tuple[Any, Any]:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return args, kwargs  # the call raises the error for missing or extra arguments
            for name, value in bound.arguments.items():
                if name in by_name:
                    bound.arguments[name] = by_name[name](name, value)
            return bound.args, bound.kwargs

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = checked(args, kwargs)
            return function(*args, **kwargs)

        @wraps(function)
        async def awaited_call(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = checked(args, kwargs)
            with _time_limit(args[0] if args else None, function.__name__):
                return await cast(Awaitable[Any], function(*args, **kwargs))

        checked_call = awaited_call if inspect.iscoroutinefunction(function) else call
        vars(checked_call).update(checks=by_name, check_arguments=lambda *a, **k: checked(a, k))
        return cast(Callable[P, R], checked_call)

    return decorate


def _time_limit(owner: object, method: str) -> AbstractContextManager[object]:
    """The limit that a client's `total_timeout` sets to a call of one of its objects."""
    limited = getattr(getattr(owner, "_session", None), "limited", nullcontext)
    kind = type(owner).__name__.removeprefix("Async")
    what = kind if method.startswith("__") else f"{kind}.{method}()"
    return cast(AbstractContextManager[object], limited(what))


def optional(check: Check) -> Check:
    """The values of the check, or None."""
    return Check(
        f"{check.what}, or None",
        lambda value: None if value is None else check._convert(value),
        is_secret=check._is_secret,
    )


def either(*several: Check, what: str | None = None) -> Check:
    """The values of any of the checks."""

    def convert(value: Any) -> Any:
        for check in several:
            try:
                return check._convert(value)
            except Unfit:
                pass
        raise Unfit

    return Check(what or " or ".join(check.what for check in several), convert)


def integer(least: int) -> Check:
    """An integer, also one of numpy."""

    def convert(value: Any) -> int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise Unfit
        number = operator.index(value)
        if number < least:
            raise Unfit
        if number > _MAX_INTEGER:
            raise Unfit(": it does not fit into 64 bits")
        return number

    return Check(f"a whole number and at least {least}", convert)


def _more_than_zero(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value) > 0:
        raise Unfit
    return float(value)


POSITIVE = Check("a number and more than zero", _more_than_zero)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):  # numpy's
        raise Unfit
    return bool(value)


FLAG = Check("True or False", _flag)


def text(what: str, *, empty: bool = False, is_secret: bool = False) -> Check:
    """A string, described by `what`; it may be empty only with `empty`."""

    def convert(value: Any) -> str:
        if not isinstance(value, str) or not (value or empty):
            raise Unfit
        return str(value)

    return Check(what, convert, is_secret=is_secret)


def choice(words: Any) -> Check:
    """One of the values of a `Literal`."""
    known = get_args(words)

    def convert(value: Any) -> str:
        if isinstance(value, str) and value in known:
            return value
        raise Unfit(did_you_mean(value, known))

    several = f"one of {', '.join(known)}"
    return Check(several if len(known) > 1 else repr(*known), convert)


def choices(words: Any) -> Check:
    """Some of the values of a `Literal`, in any collection; "all", if it is one, may be alone."""
    known = get_args(words)

    def convert(value: Any) -> tuple[str, ...]:
        if value == "all" and value in known:
            return ("all",)
        found = _items(value, known)
        for word in found:
            if word not in known:
                raise Unfit(f": {shown(word)} is not one of them{did_you_mean(word, known)}")
        return tuple(dict.fromkeys(found))

    return Check(f"a list of some of {', '.join(known)}", convert)


def _items(value: Any, known: Collection[str] = ()) -> tuple[Any, ...]:
    """The items of a list-like value, which is not a string or a mapping."""
    if isinstance(value, str):
        # A single word was probably meant as a list of it.
        right = value if value in known or not known else nearest(value, known)
        raise Unfit(f": write [{right!r}]" if right else "")
    if isinstance(value, bytes | bytearray | Mapping) or not isinstance(value, Iterable):
        raise Unfit
    return tuple(value)


def _names(value: Any) -> tuple[str, ...]:
    found = _items(value)
    for name in found:
        if not isinstance(name, str) or not name:
            raise Unfit(f": {shown(name)} is not a name")
    return tuple(map(str, found))


def _ordered_names(value: Any) -> tuple[str, ...]:
    if isinstance(value, Set) and not isinstance(value, KeysView):
        raise Unfit(": a set has no order")
    return _names(value)


# A set is refused where the order of the names matters, as for columns.
NAMES = Check("specified in a list of strings", _ordered_names)
ANY_NAMES = Check("specified in a list of strings", _names)


def _mapping(value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise Unfit
    return value


def named_values(value: Any) -> Mapping[str, Any]:
    found = _mapping(value)
    for name in found:
        if not isinstance(name, str):
            raise Unfit(f": {shown(name)} is not a name")
    return found


FILTERS = Check('a filter like {"state": "finished"}, or one built with aiowandb.filters', _mapping)
VALUES = Check("a mapping of names to values, like a dict", named_values)


def _path(value: Any) -> Path:
    found = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(found, str) or "\0" in found:
        raise Unfit
    return value if isinstance(value, Path) else Path(found)


def _uri(value: Any) -> str:
    if not isinstance(value, str) or "://" not in value or "\0" in value:
        raise Unfit
    return value


def _run_path(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray):
        raise Unfit
    return _names(value)


PATH = Check("a path, as a string or a Path", _path)
URI = Check("a URI", _uri)
RUN_PATH = Check("a path like 'entity/project/run_id', a URL, or a list of these parts", _run_path)


def having(what: str, *names: str) -> Check:
    """Any object with methods or attributes of all of these names."""

    def convert(value: Any) -> Any:
        if isinstance(value, type) or not all(hasattr(value, name) for name in names):
            raise Unfit
        return value

    return Check(what, convert)


def _function(value: Any) -> Any:
    if not callable(value):
        raise Unfit
    return value


FUNCTION = Check("a function", _function)


def many(what: str, kind: type) -> Check:
    """Objects of a class, in a list or an iterator; items of iterators are not checked here."""

    def convert(value: Any) -> Any:
        if isinstance(value, kind):
            raise Unfit(": write a list of it")
        if isinstance(value, AsyncIterable):
            return value
        if isinstance(value, str | bytes | bytearray | Mapping) or not isinstance(value, Iterable):
            raise Unfit
        if isinstance(value, Collection):
            for item in value:
                if not isinstance(item, kind):
                    raise Unfit(f": {shown(item)} is not one")
        return value

    return Check(what, convert)


def check_steps(min_step: int | None, max_step: int | None) -> None:
    """Raise if there can be no step between them."""
    if max_step is not None and max_step <= (min_step or 0):
        raise UsageError(
            f"No step is at least {min_step or 0} and below {max_step}: max_step is exclusive."
        )


def shown(value: Any) -> str:
    """The value for error messages; large values are cut off."""
    try:
        said = repr(value)
    except Exception:
        said = f"a {type(value).__name__}"
    return said if len(said) <= _LONGEST_VALUE else f"{said[:_LONGEST_VALUE]}…"


class FixedAttributes:
    """A class whose objects get no new attributes, so that a misspelt name is an error.

    Names that begin with an underscore are internal and allowed.
    """

    if not TYPE_CHECKING:  # hidden from type checkers, which would accept any name then

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_"):
                check_writable(type(self), name)
            super().__setattr__(name, value)


def check_writable(kind: type, name: str, writable: Collection[str] | None = None) -> None:
    """Raise if users cannot set this attribute of such objects.

    They can set those in `writable`, or by default those with a setter.
    """
    known = [each for each in dir(kind) if not each.startswith("_")]
    if writable is None:
        writable = {each for each in known if _has_setter(inspect.getattr_static(kind, each))}
    if name in writable:
        return
    if name in known:
        can = f"you can set {', '.join(sorted(writable))}" if writable else "nothing can"
        raise UsageError(f"{name} of {_a(kind)} cannot be set; {can}.")
    hint = did_you_mean(name, writable) or did_you_mean(name, known)
    raise UsageError(f"{_a(kind).capitalize()} has no attribute {name!r}{hint or '.'}")


def _has_setter(member: Any) -> bool:
    if isinstance(member, property):
        return member.fset is not None
    return hasattr(type(member), "__set__")


def _a(kind: type) -> str:
    name = kind.__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
