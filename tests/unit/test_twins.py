"""The facade is complete: whatever the async classes offer, their twins do."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from aiowandb import api, sync

TWINS = [
    (original, getattr(sync, name))
    for name, original in vars(api).items()
    if inspect.isclass(original) and name != "AsyncApi"
] + [(api.AsyncApi, sync.Api)]

# What the facade has in the words of code without `await`.
NAMES = {"aclose": "close"}


def public(kind: type) -> dict[str, Any]:
    """The members that a user sees, with those inherited from our own classes."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("aiowandb"):
            found |= {n: m for n, m in vars(base).items() if not n.startswith("_")}
    # Where users cannot go: how the parts are made, and what is only for the wire.
    return {n: m for n, m in found.items() if n not in INTERNAL}


INTERNAL = {"of", "ref", "config_json", "summary_json", "system_json", "size_bytes"}
CASES = [
    pytest.param(original, twin, name, id=f"{original.__name__}.{name}")
    for original, twin in TWINS
    for name in public(original)
]


@pytest.mark.parametrize(("original", "twin", "name"), CASES)
def test_every_public_name_has_its_twin(original: type, twin: type, name: str) -> None:
    assert NAMES.get(name, name) in public(twin), f"{twin.__name__} lacks {name}"


@pytest.mark.parametrize(("original", "twin", "name"), CASES)
def test_a_twin_explains_itself_as_the_original_does(original: type, twin: type, name: str) -> None:
    member = inspect.getattr_static(original, name)
    if not inspect.isfunction(member) or name in NAMES:
        return
    other = inspect.getattr_static(twin, name)
    assert other.__doc__ == member.__doc__
    if inspect.isfunction(other):
        assert inspect.signature(other) == inspect.signature(member)


@pytest.mark.parametrize(("original", "twin"), TWINS)
def test_a_twin_has_no_public_name_of_its_own(original: type, twin: type) -> None:
    theirs = {NAMES.get(name, name) for name in public(original)}
    assert set(public(twin)) <= theirs
