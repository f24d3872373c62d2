"""Documents the public API by its public names, wherever its code lies.

Autodoc knows objects by the module that defines them. Users import them from `aiowandb` and
`aiowandb.sync`, and modules may move, so links lead to the public names. The methods of the face
without `await` wrap coroutine functions: without help, autodoc would call them async.
"""

from __future__ import annotations

import builtins
import inspect
import re
import ssl
import sys
from typing import Any, get_args

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import aiowandb
from aiowandb import filters, sync

# Methods that are for the other parts of aiowandb. tests/docs holds that users need none of them.
INTERNAL = frozenset(
    {"config_json", "credentials", "of", "ref", "size_bytes", "summary_json", "system_json"}
)
# What a read plan has because Arrow's datasets have it, and refuses; see `ReadPlan.scanner`.
OF_ARROW = frozenset(
    {"filter", "get_fragments", "join", "join_asof", "partition_expression", "replace_schema"}
    | {"sort_by"}
)
# What users make themselves; the other classes they are given.
CONSTRUCTED = frozenset({"AsyncApi", "Api"})
FACES = {"aiowandb": aiowandb, "aiowandb.sync": sync, "aiowandb.filters": filters}


def without_await(signature: str) -> str:
    """The signature of a method of `aiowandb.sync`, given that of its original."""
    return re.sub(r"\bStream\[", "Iterator[", signature)


class Bare(str):
    """An annotation that is shown as it is written, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def signature_of(function: Any) -> str:
    """The signature of a function as its code has it."""
    found = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=Bare(parameter.annotation))
        if isinstance(parameter.annotation, str)
        else parameter
        for parameter in found.parameters.values()
    ]
    returned = found.return_annotation
    if isinstance(returned, str):
        returned = Bare(returned)
    return in_order(str(found.replace(parameters=parameters, return_annotation=returned)))


def in_order(signature: str) -> str:
    """The same with the members of sets sorted, which would differ from build to build."""

    def ordered(match: re.Match[str]) -> str:
        return "{" + ", ".join(sorted(match[1].split(", "))) + "}"

    return re.sub(r"frozenset\(\{(.*?)\}\)", ordered, signature)


def type_of(kind: type, member: str, value: Any) -> str:
    """The type of an attribute as the code has it, or nothing if it does not say."""
    getter = getattr(value, "fget", None) or getattr(value, "func", None)
    if getter:
        return str(getter.__annotations__.get("return", ""))
    if original := getattr(value, "__orig_class__", None):
        return ", ".join(map(shown, get_args(original)))
    if method := getattr(value, "_method", None):
        return str(method.__annotations__.get("return", ""))
    found = (vars(base).get("__annotations__", {}).get(member) for base in kind.__mro__)
    return shown(next(filter(None, found), ""))


def shown(annotation: Any) -> str:
    """A type as code that imports it writes it."""
    is_class = isinstance(annotation, type) and not get_args(annotation)
    text = annotation.__name__ if is_class else str(annotation)
    return re.sub(r"\b(typing|datetime|aiowandb[.\w]*)\.(?=\w)", "", text)


def make_plain(kind: type) -> None:
    """Let the members of a class look like what they are: functions, and attributes with types."""
    types = {}
    for base in kind.__mro__:
        for name, member in list(vars(base).items()):
            if inspect.isfunction(member) and hasattr(member, "__wrapped__"):
                signature = inspect.signature(member)
                returned = without_await(signature.return_annotation)
                member.__signature__ = signature.replace(return_annotation=returned)  # type: ignore[attr-defined]
                member.__annotations__ = member.__annotations__ | {"return": returned}
                del member.__wrapped__
            elif not name.startswith("_") and not callable(member):
                types[name] = type_of(kind, name, member)
    known = vars(kind).get("__annotations__", {})
    kind.__annotations__ = {name: type_ for name, type_ in types.items() if type_} | known


def prepare(_: Sphinx) -> None:
    # Imported there for type checkers only; autodoc reads the types of the fields.
    vars(sys.modules[aiowandb.Settings.__module__])["ssl"] = ssl
    for name in sync.__all__:
        member = getattr(sync, name)
        if isinstance(member, type):
            make_plain(member)
        else:
            vars(member).pop("__wrapped__", None)  # its own signature, not the original's


def skip(_app: Sphinx, what: str, name: str, _obj: Any, _skip: bool, _options: Any) -> bool | None:
    return True if what == "class" and (name in INTERNAL or name in OF_ARROW) else None


def signature(
    _app: Sphinx,
    what: str,
    name: str,
    _obj: Any,
    _options: Any,
    arguments: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    if what == "class" and name.rpartition(".")[2] not in CONSTRUCTED:
        return "", None
    return arguments and in_order(arguments), returned


def docstring(
    _app: Sphinx, _what: str, name: str, _obj: Any, _options: Any, lines: list[str]
) -> None:
    """Let the examples of the face without `await`, which has docstrings of the other, be right."""
    if name.startswith("aiowandb.sync."):
        lines[:] = [re.sub(r"\basync (?=for|with)|\bawait ", "", line) for line in lines]


def command_text(_app: Sphinx, _context: Any, lines: list[str]) -> None:
    """Let globs in the help of commands be text, and no emphasis."""
    lines[:] = [line.replace("*", r"\*") for line in lines]


def unlink_builtins(_app: Sphinx, page: nodes.document) -> None:
    """`bytes` as a type is not the attribute `bytes` of something, and `Int64` is an `int`."""
    for node in list(page.findall(pending_xref)):
        target = node.get("reftarget", "").replace("Int64", "int")
        is_builtin = hasattr(builtins, target) and target not in aiowandb.__all__
        if is_builtin and node.get("refdomain") == "py":
            node.replace_self(nodes.Text(target))


def public_name(target: str, page: str) -> str | None:
    """The public name of what is called `target` in code, seen from a page."""
    name = target.rpartition(".")[2]
    faces = list(FACES)
    if page == "api/sync":
        faces.sort(key=lambda face: face != "aiowandb.sync")
    return next((f"{face}.{name}" for face in faces if name in FACES[face].__all__), None)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, child: nodes.TextElement
) -> nodes.Node | None:
    """Lead links to types to their public names. Type variables have no page of their own."""
    if node.get("refdomain") != "py":
        return None
    if re.fullmatch(r"(.*\.)?[A-Z](_co)?", node["reftarget"]):
        return child
    found = public_name(node["reftarget"], env.current_document.docname or node["refdoc"])
    if found is None or found == node["reftarget"]:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found, node, child)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", prepare)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("doctree-read", unlink_builtins)
    app.connect("missing-reference", resolve)
    app.connect("sphinx-click-process-description", command_text)
    app.connect("sphinx-click-process-options", command_text)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
