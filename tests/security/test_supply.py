"""The dependencies have no vulnerability in the list beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


class Advisory(msgspec.Struct, frozen=True):
    """A vulnerability of the versions from `since` until it was fixed."""

    package: str
    id: str
    fixed: str
    since: str = "0"
    harmless: str | None = None

    def is_in(self, number: str) -> bool:
        return Version(self.since) <= Version(number) < Version(self.fixed)


def advisories() -> list[Advisory]:
    known = tomllib.loads(Path(__file__).with_name("advisories.toml").read_text())
    return msgspec.convert(known["advisory"], list[Advisory])


def needed(package: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """What a package requires with these extras."""
    for text in requires(package) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield requirement


def installed() -> dict[str, str]:
    """What aiowandb with all extras needs, and what that needs in turn, as it is installed."""
    found: dict[str, str] = {}
    waiting = [("aiowandb", frozenset({"all"}))]
    while waiting:
        package, extras = waiting.pop()
        for requirement in needed(package, extras):
            name = canonicalize_name(requirement.name)
            if name in found and not requirement.extras:
                continue
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue  # it is for another system
            waiting.append((name, frozenset(requirement.extras)))
    return found


def lowest() -> dict[str, str]:
    """The oldest versions that aiowandb's own requirements allow."""
    found: dict[str, str] = {}
    for requirement in needed("aiowandb", frozenset({"all"})):
        for bound in requirement.specifier:
            if bound.operator == ">=":
                found[canonicalize_name(requirement.name)] = bound.version
    return found


@pytest.mark.parametrize("advisory", advisories(), ids=lambda advisory: advisory.id)
def test_no_version_in_use_or_allowed_is_known_to_be_vulnerable(advisory: Advisory) -> None:
    here = installed()
    assert {"httpx", "h11", "starlette", "pyarrow"} <= here.keys()
    if advisory.package in here:
        assert not advisory.is_in(here[advisory.package])
    allowed = lowest()
    if advisory.package in allowed and not advisory.harmless:
        assert not advisory.is_in(allowed[advisory.package]), allowed[advisory.package]


@pytest.mark.lowest
def test_the_oldest_versions_that_are_allowed_are_those_under_test() -> None:
    here, allowed = installed(), lowest()
    assert {name: Version(here[name]) for name in allowed} == {
        name: Version(number) for name, number in allowed.items()
    }
