"""Writes `llms.txt` beside the pages: an index of them, and the whole public API as signatures.

Each page says in its first paragraph what it is for; that is its line in the index.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from docutils import nodes
from sphinx.application import Sphinx

from public_api import (
    CONSTRUCTED,
    FACES,
    INTERNAL,
    shown,
    signature_of,
    type_of,
    without_await,
)


def summary_of(page: nodes.document) -> str:
    """The first sentence of a page."""
    first = next(page.findall(nodes.paragraph), None)
    text = " ".join(first.astext().split()) if first else ""
    return text.partition(". ")[0].rstrip(".:") + "." if text else ""


def index(app: Sphinx) -> Iterator[str]:
    titles = app.env.titles
    for name in app.env.toctree_includes.get(app.config.root_doc, []):
        for page in (name, *app.env.toctree_includes.get(name, [])):
            line = summary_of(app.env.get_doctree(page))
            yield f"- [{titles[page].astext()}]({page}.html): {line}"


def signatures(face: ModuleType, *, is_sync: bool) -> Iterator[str]:
    """Every public name of a module, with the members of its classes."""
    for name in face.__all__:
        value = getattr(face, name)
        if inspect.isclass(value) and issubclass(value, BaseException):
            yield f"class {name}({value.__mro__[1].__name__}): {first_line(value)}"
        elif inspect.isclass(value):
            yield from class_lines(name, value, is_sync=is_sync)
        elif inspect.isfunction(value):
            yield f"def {name}{signature_of(value)}: {first_line(value)}"
        elif get_args(value):
            yield f"{name} = {shown(value)}"
        elif name.startswith("__"):
            yield name
        else:
            yield f"{name}: {type(value).__name__}"


def class_lines(name: str, kind: type, *, is_sync: bool) -> Iterator[str]:
    made_by_users = name in CONSTRUCTED and (name == "Api") == is_sync
    arguments = signature_of(kind) if made_by_users else ""
    yield f"class {name}{arguments}: {first_line(kind)}"
    for member in members(kind):
        value = inspect.getattr_static(kind, member)
        function = value.__func__ if isinstance(value, classmethod) else value
        if inspect.isfunction(function):
            signature = signature_of(function)
            is_awaited = not is_sync and inspect.iscoroutinefunction(inspect.unwrap(function))
            shown = without_await(signature) if is_sync else signature
            line = f"{'async def' if is_awaited else 'def'} {member}{shown}"
        else:
            type_ = type_of(kind, member, value)
            line = f"{member}: {type_}" if type_ else member
        text = first_line(function)
        yield f"    {line}" + (f"  # {text}" if text else "")


def members(kind: type) -> list[str]:
    """What users see of a class, with what it inherits from classes of ours."""
    ours = [base for base in kind.__mro__ if base.__module__.startswith("aiowandb")]
    names = {name for base in ours for name in vars(base)} - INTERNAL
    names |= {name for base in ours for name in getattr(base, "__struct_fields__", ())} - INTERNAL
    return sorted(name for name in names if not name.startswith("_"))


def first_line(value: Any) -> str:
    text = value.__doc__ if isinstance(getattr(value, "__doc__", None), str) else ""
    return "" if text == "str" else " ".join((text or "").strip().partition("\n\n")[0].split())


def write(app: Sphinx, error: Exception | None) -> None:
    if error or app.builder.format != "html":
        return
    lines = [
        f"# {app.config.project} {app.config.release}",
        "",
        f"> {' '.join((FACES['aiowandb'].__doc__ or '').strip().splitlines()[0].split())}",
        "",
        "## Pages",
        "",
        *index(app),
    ]
    for module, face in FACES.items():
        is_sync = module == "aiowandb.sync"
        lines += ["", f"## `{module}`", "", "```python"]
        lines += [*signatures(face, is_sync=is_sync), "```"]
    Path(app.outdir, "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
