"""The manifest of an export: size and SHA-256 of every file that belongs to it.

It is the last file that an export writes. Its last line has the SHA-256 of the lines before, so
that a manifest that was changed or cut off is not taken for the truth. A second file, the seal,
has the SHA-256 of all of it, for changes that were made to the last line as well.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa

from aiowandb.errors import ExportError
from aiowandb.export.folders.base import (
    STATE_DIR,
    Folder,
    InnerName,
    plain_errors,
    read_errors,
    require_size_of_state,
    state_decoder,
)

MANIFEST = f"{STATE_DIR}/manifest.jsonl"
# Lines that `sha256sum --check` takes: the manifest, and the one that it has replaced.
SEAL = f"{STATE_DIR}/manifest.sha256"
# The state in the journal as the last complete export left it.
JOURNAL_COPY = f"{STATE_DIR}/journal-copy.jsonl"
_VERSION = 1
# Pieces that stay in the cache of the processor take a fifth less CPU than larger ones; in an
# object store each piece is a request.
_PIECE, _REMOTE_PIECE = 1 << 18, 1 << 20


class FileDigest(msgspec.Struct, frozen=True, gc=False):
    """What the content of a file must be; the SHA-256 is in hex."""

    size: int
    sha256: str


class _First(msgspec.Struct, frozen=True):
    """The first line. Earlier versions made no seals, and do not write that there is one.

    `failed` is how many runs the export could not read completely. `journal` is the SHA-256 of the
    journal as the export left it, if it is a file on a disk.
    """

    manifest: int
    sealed: bool = False
    failed: int = 0
    journal: str = ""


class _Line(msgspec.Struct, frozen=True):
    """A line for a file. Names are relative to the folder, with slashes."""

    name: InnerName
    size: int
    sha256: str


class _Last(msgspec.Struct, frozen=True):
    """The last line: how many files there are, and the SHA-256 of all lines before."""

    files: int
    sha256: str


class DamagedManifestError(ExportError):
    """The manifest is not as an export has written it."""


def manifest_text(files: Mapping[str, FileDigest], failed: int = 0, journal: str = "") -> bytes:
    """The content of a manifest of these files; `failed` runs are not complete."""
    lines = (_Line(name, files[name].size, files[name].sha256) for name in sorted(files))
    first = _First(_VERSION, True, failed, journal)
    text = b"".join(msgspec.json.encode(line) + b"\n" for line in (first, *lines))
    last = _Last(len(files), _sha256_of(text))
    return text + msgspec.json.encode(last) + b"\n"


def read_manifest(folder: Folder) -> dict[str, FileDigest] | None:
    """The files in the folder's manifest; None if there is no manifest. Blocks."""
    text = read_whole(folder, MANIFEST)
    if text is None:
        return None
    found = _parse(text, folder.location(MANIFEST))
    if _read_first(text.partition(b"\n")[0]).sealed and _sha256_of(text) not in _sealed(folder):
        raise DamagedManifestError(
            f"{folder.location(MANIFEST)} is not the one that the export has written."
        )
    return found


def sealed_journal(folder: Folder) -> str:
    """The SHA-256 of the journal when the folder's manifest was written, if that is known."""
    text = read_whole(folder, MANIFEST)
    return _read_first(text.partition(b"\n")[0]).journal if text else ""


def write_manifest(
    folder: Folder, files: Mapping[str, FileDigest], failed: int = 0, journal: str = ""
) -> None:
    """Write a manifest of these files and its seal, unless they are there already. Blocks.

    `failed` is how many runs the export could not read completely, `journal` the SHA-256 of the
    journal if it is known.
    """
    text, before = manifest_text(files, failed, journal), read_whole(folder, MANIFEST)
    if text == before and _sha256_of(text) in _sealed(folder):
        return
    # Until the manifest is replaced, the old one is right, too.
    right = [each for each in (text, before) if each is not None]
    name = MANIFEST.rpartition("/")[2]
    put_text(folder, SEAL, "".join(f"{_sha256_of(each)}  {name}\n" for each in right).encode())
    put_text(folder, MANIFEST, text)


def put_text(folder: Folder, name: str, text: bytes) -> None:
    """Write a file of the folder at once. Blocks."""
    # Two runs that have logged the same version write its record at the same time.
    draft = folder.draft(f"{name}.{secrets.token_hex(4)}")
    with plain_errors(draft):
        draft.write_bytes(text)
    folder.put(draft, name)


def _sealed(folder: Folder) -> list[str]:
    """The SHA-256 of manifests that are right."""
    lines = (read_whole(folder, SEAL) or b"").splitlines()
    return [line.partition(b" ")[0].decode(errors="replace") for line in lines]


def _sha256_of(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _parse(text: bytes, location: object) -> dict[str, FileDigest]:
    begin = text.rfind(b"\n", 0, -1) + 1
    lines = text[:begin].splitlines()
    try:
        last = _read_last(text[begin:])
        if not text.endswith(b"\n") or _sha256_of(text[:begin]) != last.sha256:
            raise DamagedManifestError(f"{location} was changed, or is damaged.")
        version = _read_first(lines[0]).manifest if lines else 0
        if version != _VERSION:
            raise DamagedManifestError(
                f"{location} is of version {version}, which this aiowandb cannot read."
            )
        found = {line.name: FileDigest(line.size, line.sha256) for line in map(_read, lines[1:])}
    except msgspec.MsgspecError as error:
        raise DamagedManifestError(f"{location} is damaged: {error}.") from None
    return found


def read_whole(folder: Folder, name: str) -> bytes | None:
    """The content of a file; None if it does not exist."""
    try:
        with read_errors(folder.location(name)), folder.open(name) as file:
            require_size_of_state(folder.location(name), file.size())
            content: bytes = file.read()
            return content
    except FileNotFoundError:
        return None


def journal_sha256(folder: Folder, journal: str) -> str:
    """The SHA-256 of the journal's file; empty if it is no file on a disk."""
    is_local = isinstance(folder.location(journal), Path)
    text = read_whole(folder, journal) if is_local else None
    return "" if text is None else _sha256_of(text)


def digest_of(
    file: BinaryIO | pa.NativeFile, *others: Any, expected: int | None = None
) -> FileDigest:
    """The digest of the rest of the file; the same bytes are added to other hashers.

    The `expected` size saves small files the memory for a large piece; of a file that has grown,
    little more is read.
    """
    sha256, size = hashlib.sha256(), 0
    is_remote = isinstance(file, pa.NativeFile) and not isinstance(file, pa.OSFile)
    most = _REMOTE_PIECE if is_remote else _PIECE
    at_once = most if expected is None else min(most, expected + 1)
    while piece := file.read(at_once):
        if len(piece) == at_once:  # there is more than expected
            at_once = most
        sha256.update(piece)
        size += len(piece)
        for other in others:
            other.update(piece)
        if expected is not None and (
            size > expected or (size == expected and len(piece) < at_once)
        ):
            break  # it was the end, or there would have been one byte more
    return FileDigest(size, sha256.hexdigest())


_read: Callable[[bytes], _Line] = state_decoder(msgspec.json.Decoder(_Line).decode)
_read_first: Callable[[bytes], _First] = state_decoder(msgspec.json.Decoder(_First).decode)
_read_last: Callable[[bytes], _Last] = state_decoder(msgspec.json.Decoder(_Last).decode)
