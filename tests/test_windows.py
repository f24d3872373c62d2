"""What can be known about Windows without Windows: modules, names of files, calls that it lacks."""

from __future__ import annotations

import ast
import errno
import fcntl
import ntpath
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.export.names import file_name
from aiowandb_server.store.disk import complete_file
from tests.conftest import ROOT, examples

NOT_ON_WINDOWS = frozenset({"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"})
# Of `os` and `signal`.
MISSING_THERE = frozenset(
    {
        *("O_DIRECTORY", "O_NOFOLLOW", "chown", "fchmod", "fork", "getuid", "killpg", "openpty"),
        *("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "alarm", "setitimer", "pthread_kill"),
    }
)


@pytest.fixture(scope="module")
def modules() -> list[tuple[Path, str, ast.Module]]:
    paths = sorted((ROOT / "src").rglob("*.py"))
    sources = [(path, path.read_text(encoding="utf-8")) for path in paths]
    return [(path, source, ast.parse(source)) for path, source in sources]


def unguarded(tree: ast.AST, *, is_guarded: bool = False) -> Iterator[ast.AST]:
    """What runs on every system: not below a test of the system or of an attribute."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If | ast.IfExp):
            test = ast.unparse(node.test)
            guards = "sys.platform" in test or "os.name" in test or "hasattr(os" in test
            yield from unguarded(node, is_guarded=is_guarded or guards)
            continue
        if not is_guarded:
            yield node
        yield from unguarded(node, is_guarded=is_guarded)


def returns_early_elsewhere(source: str, line: int) -> bool:
    """Whether the function has returned before this line on systems without what it uses."""
    before = source.splitlines()[max(line - 9, 0) : line]
    return any("sys.platform ==" in each or "not hasattr(os" in each for each in before)


def used(node: ast.AST) -> set[str]:
    """The modules and attributes in this node that Windows does not have."""
    if isinstance(node, ast.Import):
        return {each.name for each in node.names} & NOT_ON_WINDOWS
    if isinstance(node, ast.ImportFrom):
        return {node.module or ""} & NOT_ON_WINDOWS
    if isinstance(node, ast.Attribute) and node.attr in MISSING_THERE:
        return {node.attr} if ast.unparse(node.value) in ("os", "signal") else set()
    return set()


@pytest.mark.slow
def test_nothing_is_used_everywhere_that_windows_does_not_have(
    modules: list[tuple[Path, str, ast.Module]],
) -> None:
    found = [
        f"{path}:{node.lineno}: {names}"
        for path, source, tree in modules
        for node in unguarded(tree)
        if (names := used(node)) and isinstance(node, ast.stmt | ast.expr)
        if not returns_early_elsewhere(source, node.lineno)
    ]
    assert found == []


@pytest.mark.slow
def test_text_is_read_and_written_in_a_known_encoding(
    modules: list[tuple[Path, str, ast.Module]],
) -> None:
    """Without one, it is that of the user's Windows."""
    arguments = {"read_text": 1, "write_text": 2}
    found = [
        f"{path}:{node.lineno}"
        for path, _, tree in modules
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if len(node.args) + len(node.keywords) < arguments.get(node.func.attr, 0)
        if "/proc/" not in ast.unparse(node)
    ]
    assert found == []


def is_reserved(name: str) -> bool:
    if sys.version_info >= (3, 13):
        return ntpath.isreserved(name)
    return PureWindowsPath(name).is_reserved()


@examples(30)
@given(
    st.text(max_size=30)
    | st.sampled_from(["con", "NUL", "aux.txt", "COM1", "lpt9", "a.", "a ", "a:b", "CONIN$", "..."])
)
def test_names_made_of_text_are_names_on_windows(text: str) -> None:
    name = file_name(text, windows=True)
    assert not is_reserved(name)
    assert not is_reserved(f"{name}.parquet")
    assert name == name.rstrip(". ")
    assert not set(name) & set('<>:"/\\|?*')
    assert PureWindowsPath(name).name == name


def test_names_differ_as_their_texts_do_on_windows_too() -> None:
    texts = ["con", "%63on", "a.", "a%2E", "a", "nul.txt", "%6Eul.txt", ".", "%"]
    assert len({file_name(text, windows=True) for text in texts}) == len(texts)
    # Elsewhere the names are those of earlier versions.
    assert file_name("con", windows=False) == "con"


def test_the_store_writes_files_with_what_windows_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders cannot be opened there, files that are only read cannot be synced."""
    real_open, real_sync = os.open, os.fsync

    def open_file(path: str, *args: int, **more: int) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_open(path, *args, **more)

    def fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real_sync(descriptor)

    monkeypatch.delattr(os, "O_DIRECTORY")
    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "blob"
    for content in (b"one", b"two"):
        with complete_file(path) as temporary:
            temporary.write_bytes(content)
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["blob"]
