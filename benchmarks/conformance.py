"""Writes `docs/conformance.md`: what of the `wandb` SDK the embedded W&B serves.

    python -m benchmarks.conformance            # write the page
    python -m benchmarks.conformance --check    # only say whether it is current

The operations are those of the installed SDK: its Python files, and the documents in `wandb-core`,
the program behind it. Each is validated against the server's schema, as the server does it. The
score of the SDK's own tests is what `benchmarks.official_tests` has written.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import msgspec
from graphql import GraphQLError, OperationDefinitionNode, parse, validate

from aiowandb_server.graphql.documents import RULES
from aiowandb_server.graphql.execution import load_schema
from benchmarks.official_tests import Score, read_score

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"
_DOCUMENT = re.compile(r"\s*(query|mutation)\s+\w+")
_IN_CORE = re.compile(
    rb"(?:query|mutation) \w+ ?(?:\([^\x00]*?\) ?)?\{\n.*?\n\}\n(?:fragment .*?\n\}\n)*", re.DOTALL
)
_MISSING = re.compile(
    r"Cannot query field '(?P<field>\w+)' on type '(?P<on>\w+)'"
    r"|Unknown argument '(?P<argument>\w+)' on field '(?P<at>[\w.]+)'"
    r"|Unknown type '(?P<type>\w+)'"
)
# What the server leaves out, by what such operations and their fields are called, and why.
_REASONS = {
    "registries and organizations": r"Regist|Organi[sz]ation|Org[A-Z]|Orgs|orgEntity",
    "automations and integrations": r"Automation|Trigger|Integration|Slack|Webhook",
    "launch queues and jobs": r"RunQueue|Launch|DefaultResource|Job|PushToRunQueue",
    "reports and custom charts": r"View|Chart|Report",
    "sandboxes and other services": r"Sandbox|Secret|Weave|Trace",
}
_WHY = {
    "registries and organizations": "they connect several teams; teams and links are supported",
    "automations and integrations": "there is no one to notify",
    "launch queues and jobs": "the server starts no programs",
    "reports and custom charts": "they are for W&B's pages",
    "sandboxes and other services": "they are services of the cloud",
    "others": "no one has asked for them yet",
}


class Verdict(msgspec.Struct, frozen=True, order=True):
    """An operation, and what of it the schema does not have."""

    name: str
    kind: str
    home: str
    missing: tuple[str, ...] = ()

    @property
    def area(self) -> str:
        text = " ".join([self.name, *self.missing])
        return next((area for area, words in _REASONS.items() if re.search(words, text)), "others")


def documents(package: Path) -> Iterator[tuple[str, str]]:
    """The GraphQL documents of the SDK: where each is, and its text."""
    for file in sorted(package.rglob("*.py")):
        source = file.read_text(encoding="utf-8", errors="replace")
        if "query " not in source and "mutation " not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and _DOCUMENT.match(text) and "_PROJECT_QUERY_" not in text:
                yield file.relative_to(package).as_posix(), text
    core = (package / "bin" / "wandb-core").read_bytes()
    for match in _IN_CORE.finditer(core):
        yield "wandb-core", match[0].decode("utf-8", "replace")


def verdicts() -> list[Verdict]:
    """What the server makes of each operation of the installed SDK."""
    spec = find_spec("wandb")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("This needs the SDK: pip install wandb")
    found: set[Verdict] = set()
    for home, text in documents(Path(spec.submodule_search_locations[0])):
        try:
            document = parse(text)
        except GraphQLError:
            continue  # prose, or a text that is completed while the SDK runs
        errors = validate(load_schema(), document, RULES, max_errors=100)
        missing = tuple(sorted({_missing(error) for error in errors}))
        for operation in document.definitions:
            if isinstance(operation, OperationDefinitionNode) and operation.name:
                kind = operation.operation.value
                found.add(Verdict(operation.name.value, kind, home, missing))
    return sorted(found)


def _missing(error: GraphQLError) -> str:
    match = _MISSING.search(error.message)
    if match is None:
        return error.message.partition(".")[0].replace("|", "/")
    if match["field"]:
        return f"{match['on']}.{match['field']}"
    return f"{match['at']}({match['argument']})" if match["argument"] else str(match["type"])


def page(found: list[Verdict]) -> str:
    """The page in Markdown."""
    served = [verdict for verdict in found if not verdict.missing]
    lines = [
        "# Conformance",
        "",
        "<!-- Written by `python -m benchmarks.conformance`. -->",
        "",
        f"Which GraphQL operations of the `wandb` SDK {version('wandb')} the"
        " [embedded W&B](embedded.md) serves. Every",
        "document of the installed SDK, those of `wandb-core` included, is validated against the"
        " server's schema; a test",
        f"checks that this page is current. Of {len(found)} operations, {len(served)} are served"
        " with all their fields.",
        "",
        "Documents that the SDK puts together while it runs are not in these lists; the tests of"
        " `tests/sdk` drive the SDK",
        "itself. What the server does differently is in [what it leaves out](embedded.md).",
        "",
        *_tests(read_score()),
        "## Served",
        "",
        "| operation | kind | of |",
        "|---|---|---|",
        *(f"| `{one.name}` | {one.kind} | `{one.home}` |" for one in served),
        "",
        "## Not served",
    ]
    for area, why in _WHY.items():
        mine = [verdict for verdict in found if verdict.missing and verdict.area == area]
        if mine:
            lines += ["", f"### {area.capitalize()}", "", f"Left out because {why}.", ""]
            lines += ["| operation | kind | of | what is missing |", "|---|---|---|---|"]
            lines += [
                f"| `{one.name}` | {one.kind} | `{one.home}` | {_few(one.missing)} |"
                for one in mine
            ]
    return "\n".join(lines) + "\n"


def _tests(score: Score) -> list[str]:
    failed = [(file.file, *failure) for file in score.files for failure in file.failed.items()]
    return [
        "## The tests of the SDK",
        "",
        f"The system tests of `wandb` {score.version}, which are written for W&B's own server, run"
        " against the embedded W&B with",
        f"`python -m benchmarks.official_tests`: {score.passed} of {score.ran} pass. These do not:",
        "",
        "| file | test | why |",
        "|---|---|---|",
        *(f"| `{file}` | `{name}` | {why} |" for file, name, why in failed),
        "",
        "Tests of what the server leaves out are not run: automations, launch queues, registries"
        " and sandboxes; nor are",
        "tests of notebooks and frameworks. By file:",
        "",
        "| file | passed | failed | skipped |",
        "|---|---|---|---|",
        *(
            f"| `{file.file}` | {file.passed} | {len(file.failed)} | {file.skipped} |"
            for file in score.files
        ),
        "",
    ]


def _few(missing: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{name}`" for name in missing[:4])
    return shown + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="Only check the page.")
    arguments = parser.parse_args()
    text = page(verdicts())
    if arguments.check:
        is_current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        print("The page is current." if is_current else f"{PAGE} is not current.")
        return 0 if is_current else 1
    PAGE.write_text(text, encoding="utf-8")
    print(f"Written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
