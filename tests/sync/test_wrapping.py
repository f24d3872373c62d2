"""The synchronous client is complete: it has everything that the async classes have."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from aiowandb import api, sync
from aiowandb.concurrency.tasks import AsyncOnly
from aiowandb.fields import Forwarded
from aiowandb.sync.wrapping import awaited_property

WRAPPERS = [
    (original, getattr(sync, name))
    for name, original in vars(api).items()
    if inspect.isclass(original) and name != "AsyncApi"
] + [(api.AsyncApi, sync.Api)]
every_class = pytest.mark.parametrize(("original", "wrapper"), WRAPPERS)

# What the facade has in the words of code without `await`.
NAMES = {
    "aclose": "close",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
}
SPECIAL = {*NAMES, *NAMES.values(), "__getitem__", "__call__", "_repr_html_"}
# Where users cannot go: how the parts are made, and what is only for the wire.
INTERNAL = {"of", "ref", "config_json", "summary_json", "system_json", "size_bytes"}


def names(kind: type) -> list[str]:
    """What a user sees of a class, with what it inherits from our own classes."""
    ours = [base for base in kind.__mro__ if base.__module__.startswith("aiowandb")]
    # It exists to refuse what the wrapper can do.
    ours = [base for base in ours if base is not AsyncOnly]
    found = {name for base in ours for name in vars(base)} - INTERNAL
    return sorted(name for name in found if name in SPECIAL or not name.startswith("_"))


def members(original: type, wrapper: type) -> Iterator[tuple[str, Any, Any]]:
    """Each of them as it is written, in both classes."""
    for name in names(original):
        own = NAMES.get(name, name)
        yield own, inspect.getattr_static(original, name), inspect.getattr_static(wrapper, own)


@every_class
def test_a_synchronous_class_has_exactly_the_names_of_the_original(
    original: type, wrapper: type
) -> None:
    assert names(wrapper) == sorted(NAMES.get(name, name) for name in names(original))


@every_class
def test_a_synchronous_list_has_a_length_where_the_original_counts(
    original: type, wrapper: type
) -> None:
    assert hasattr(wrapper, "__len__") == hasattr(original, "count")


@every_class
def test_methods_have_the_same_docstrings(original: type, wrapper: type) -> None:
    for name, member, other in members(original, wrapper):
        if name not in SPECIAL | {"close"}:
            assert text(other) == text(member), name


def text(member: Any) -> str:
    """What a docstring says before its example, which may be in other words."""
    function = member.__func__ if isinstance(member, classmethod) else member
    return (function.__doc__ or "").partition(">>>")[0].strip()


@every_class
def test_methods_take_the_same_arguments(original: type, wrapper: type) -> None:
    for name, member, other in members(original, wrapper):
        if inspect.isfunction(member) and inspect.isfunction(other) and name not in SPECIAL:
            assert parameters(other) == parameters(member), name


def test_both_clients_are_made_with_the_same_arguments() -> None:
    assert parameters(sync.Api) == parameters(api.AsyncApi)


def parameters(function: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


@every_class
def test_methods_are_awaited_and_iterated_without_async(original: type, wrapper: type) -> None:
    for name, member, other in members(original, wrapper):
        if isinstance(other, awaited_property):
            assert [*inspect.signature(member).parameters] == ["self"], name
        elif inspect.isfunction(member):
            streams = "Stream" in str(inspect.signature(member).return_annotation)
            # Arguments are checked at once, so that not every one is a generator function.
            iterates = inspect.isgeneratorfunction(other) or "_items" in other.__code__.co_names
            assert iterates == streams, name
            assert not inspect.iscoroutinefunction(other), name


@every_class
def test_the_documentation_knows_every_name(original: type, wrapper: type) -> None:
    page = (Path(__file__).parents[2] / "docs" / "api" / "index.md").read_text(encoding="utf-8")
    table = page.partition("## Every name at a glance")[2].partition("\n#")[0]
    documented = set(re.findall(r"`(\w+)`", table))
    assert {name for name in names(original) if not name.startswith("_")} <= documented


@every_class
def test_attributes_have_the_same_types(original: type, wrapper: type) -> None:
    for name, member, other in members(original, wrapper):
        if name == "record":
            assert isinstance(other, Forwarded)
        elif isinstance(other, Forwarded):
            if isinstance(member, Forwarded):
                hint = get_args(vars(member)["__orig_class__"])[0]
            else:
                assert isinstance(member, property), name
                hint = get_type_hints(member.fget)["return"]
            assert get_args(vars(other)["__orig_class__"]) == (hint,), name
        elif not callable(member) and not isinstance(member, classmethod):
            assert isinstance(other, property), name
