"""Our objects and errors never show the signatures of links."""

from __future__ import annotations

import importlib
import pkgutil
import ssl
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

import aiowandb
from aiowandb.config import settings
from aiowandb.errors import UsageError
from aiowandb.export.delta import _parsed
from aiowandb.export.folders.locate import folder_at
from aiowandb.redaction import Link, hide_secrets, redacted, without_frames

SECRET = "AbCdEf123456"
LINK = f"https://storage.example/file?X-Signature={SECRET}"
# What may hold a link or a credential, by a part of its name.
TELLING = ("url", "segment", "token", "header", "link", "reference", "proxies", "address", "uri")
# Marks of exports in their own folders, which permit nothing.
# What leads to wherever its user has put something.
REFERENCES = {"ManifestEntry": ["ref"]}
HARMLESS = {"Begun", "LeaseHolder", "_Object"}


def structs(kind: Any = msgspec.Struct) -> Iterator[Any]:
    for each in kind.__subclasses__():
        if each.__module__.startswith("aiowandb.") and ".local" not in each.__module__:
            yield each
        yield from structs(each)


def holders() -> list[Any]:
    """The structs of the client that have something to hide."""
    for module in pkgutil.walk_packages(aiowandb.__path__, "aiowandb."):
        if not module.name.startswith(("aiowandb.engines.", "aiowandb.__main__")):
            importlib.import_module(module.name)
    found: set[Any] = {
        kind for kind in structs() if telling(kind) and kind.__name__ not in HARMLESS
    }
    return sorted(found, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}")


def telling(kind: Any) -> list[str]:
    names = [name for name in kind.__struct_fields__ if any(part in name for part in TELLING)]
    numbers = {name for name, hint in kind.__annotations__.items() if hint == "int"}
    texts = [name for name in names if name != "base_url" and name not in numbers]
    return texts + REFERENCES.get(kind.__name__, [])


def secret_of(hint: Any) -> Any:
    """A value of this type that holds the secret."""
    text = str(hint)
    if "Mapping" in text or "dict" in text:
        return {"https://": f"http://user:{SECRET}@proxy", "link": LINK}
    link = Link(LINK) if hint is Link or Link in get_args(hint) else LINK
    if "list" in text:
        return [link]
    return (link,) if "tuple" in text else link


@pytest.mark.parametrize("kind", holders(), ids=lambda kind: kind.__qualname__)
def test_no_repr_shows_a_signature(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ssl", ssl, raising=False)
    values = {}
    hints = get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        if field.name in telling(kind):
            values[field.name] = secret_of(hints[field.name])
        elif field.required and "datetime" in str(hints[field.name]):
            values[field.name] = datetime.now(UTC)
        elif field.required:
            values[field.name] = None if type(None) in get_args(hints[field.name]) else "x"
    assert values.keys() >= set(telling(kind)) != set()
    made = kind(**values)
    assert SECRET not in f"{made!r} {made}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://KEY:AbCdEf123456@bucket/a?region=eu", "s3://bucket/a"),
        ("s3://KEY:AbC/dEf123456@bucket/a", "s3://bucket/a"),
        (
            "abfss://box:AbCdEf123456=@acc.dfs.core.windows.net/a",
            "abfss://acc.dfs.core.windows.net/a",
        ),
        (LINK, "https://storage.example/file"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("http://[::1]:8080/a@b", "http://[::1]:8080/a@b"),
        ("folder/a@b?c", "folder/a@b?c"),
    ],
)
def test_a_url_is_shown_without_what_is_secret_in_it(url: str, shown: str) -> None:
    assert redacted(url) == shown
    assert "dEf123456" not in hide_secrets(f"cannot open {url}", url)


def test_a_key_is_hidden_however_it_is_spelled() -> None:
    url = "s3://KEY:AbC%2FdEf123456@bucket/a?sas=gHi%2BjKl"
    said = hide_secrets("AbC%2FdEf123456 AbC/dEf123456 gHi%2BjKl gHi+jKl", url)
    assert said == "*** *** *** ***"


@pytest.mark.parametrize(
    "url",
    [
        f"s3://KEY:x/{SECRET}@bucket/a",
        f"abfss://acc:{SECRET} x@box/a",
        f"abfss://box@acc.dfs.core.windows.net/a?sas_token={SECRET}",
        f"gs://bucket/a?key={SECRET}",
        f"ftp://user:{SECRET}@host/a",
    ],
)
def test_a_folder_that_cannot_be_opened_is_named_without_its_key(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        folder_at(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "place", "account"),
    [
        ("abfss://box:KEY%2B@acc.dfs.core.windows.net/a/b", "abfss://box/a/b", "acc"),
        ("abfss://:KEY%2B@acc.blob.core.windows.net/box/a/b", "abfss://box/a/b", "acc"),
        ("abfs://acc:KEY%2B@box/a/b", "abfs://box/a/b", "acc"),
    ],
)
def test_delta_gets_the_key_of_azure_separately_from_the_url(
    url: str, place: str, account: str
) -> None:
    options = {"AZURE_STORAGE_ACCOUNT_NAME": account, "AZURE_STORAGE_ACCOUNT_KEY": "KEY+"}
    assert _parsed(url) == (place, options)


def test_errors_that_are_the_cause_of_each_other_lose_their_frames() -> None:
    one, other = ValueError("one"), ValueError("other")
    for error in (one, other):
        try:
            raise error
        except ValueError:
            pass
    one.__cause__, other.__context__ = other, one
    assert without_frames(one) is one
    assert (one.__traceback__, other.__traceback__) == (None, None)
