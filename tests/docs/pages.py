"""The README and the pages of the documentation, and the code in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]

_CODE = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
_CONSOLE = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)


class CodeBlock(NamedTuple):
    """A block of Python. What it prints is the block of text that follows it, if there is one."""

    code: str
    output: str | None


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code_blocks(page: Path) -> list[CodeBlock]:
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in _CODE.finditer(text):
        # Tracebacks show the line of the page.
        line = text.count("\n", 0, match.start(1))
        blocks.append(CodeBlock("\n" * line + match[1], match[2]))
    return blocks


def commands(page: Path) -> Iterator[list[str]]:
    """Every `aiowandb` command in the page, without what the shell does to its input and output."""
    for block in _CONSOLE.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if line.startswith("$ aiowandb"):
                plain = "|<>&"
                end = next((i for i, word in enumerate(words) if word in plain), len(words))
                yield words[1:end]
