"""The contents of artifact versions: manifests, and files, stored once for each digest.

A digest is an MD5 or an XXH128 in base64. XXH128 is not made to resist forgers: content that is
stored by it never stands in for content that is asked for by its MD5.
"""

from __future__ import annotations

import base64
from dataclasses import astuple
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import orjson

from aiowandb_server.errors import RequestError
from aiowandb_server.store.artifact_records import Entry, ManifestRow
from aiowandb_server.store.files import check_name
from aiowandb_server.store.metering import charge, weight_of
from aiowandb_server.store.records import ListPage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from aiowandb_server.store.artifact_records import ArtifactRow
    from aiowandb_server.store.database import Database
    from aiowandb_server.store.disk import Blob, Blobs


XXH128_PREFIX = "xxh128:"
# Without names, all entries are selected.
_NAMED = "artifact_id = :id AND (:all_names OR name IN (SELECT value FROM json_each(:names)))"

_IS_PENDING = "EXISTS (SELECT 1 FROM artifact WHERE id = ?1 AND state = 'PENDING')"
_IS_COMMITTED = "EXISTS (SELECT 1 FROM artifact WHERE id = :id AND state <> 'PENDING')"
# In one transaction, in which all other writers wait: for a tenth of a second.
_ENTRIES_AT_ONCE = 10_000
T = TypeVar("T")


class _Facts(msgspec.Struct):
    """A file in a manifest."""

    digest: str
    size: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    ref: str | None = None
    extra: dict[str, Any] = {}

    @property
    def content_key(self) -> str:
        """What the content of the file is stored under."""
        # Digests by MD5 are not marked.
        return f"{XXH128_PREFIX}{self.digest}" if self.extra.get("alg") == "XXH128" else self.digest


class Manifests:
    def __init__(self, database: Database, blobs: Blobs, clock: Callable[[], float]) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock

    def announce(
        self, artifact_id: int, *, kind: str, name: str, digest: str, base_id: int | None
    ) -> ManifestRow:
        """Create or update the manifest of that name. A version can have many patches."""
        with self._database.write() as connection:
            row = connection.execute(
                """
                INSERT INTO manifest (artifact_id, kind, name, digest, base_id, created_at)
                VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET digest = excluded.digest, base_id = excluded.base_id
                RETURNING *
                """,
                (artifact_id, kind, name, digest, base_id, int(self._clock())),
            ).fetchone()
        return ManifestRow(*row)

    def get(self, manifest_id: int) -> ManifestRow | None:
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT * FROM manifest WHERE id = ?", (manifest_id,)
            ).fetchone()
        return ManifestRow(*row) if row else None

    def current(self, artifact_id: int) -> ManifestRow | None:
        """The manifest with all entries: the last one that was uploaded."""
        with self._database.read() as connection:
            row = connection.execute(
                """
                SELECT * FROM manifest WHERE artifact_id = ? AND blob IS NOT NULL
                ORDER BY kind = 'FULL' DESC, id DESC LIMIT 1
                """,
                (artifact_id,),
            ).fetchone()
        return ManifestRow(*row) if row else None

    def change(self, manifest_id: int, *, digest: str | None, base_id: int | None) -> None:
        with self._database.write() as connection:
            connection.execute(
                """
                UPDATE manifest SET digest = ifnull(?, digest), base_id = ifnull(?, base_id)
                WHERE id = ?
                """,
                (digest, base_id, manifest_id),
            )

    def upload(self, manifest: ManifestRow, blob: Blob) -> bool:
        """Returns whether it was stored: the content of a committed version does not change."""
        with self._database.write() as connection:
            return (
                connection.execute(
                    f"UPDATE manifest SET blob = ?2 WHERE id = ?3 AND {_IS_PENDING}",  # noqa: S608
                    (manifest.artifact_id, blob.token, manifest.id),
                ).rowcount
                > 0
            )

    def path(self, manifest: ManifestRow) -> Path | None:
        return self._blobs.path(manifest.blob) if manifest.blob else None

    def settle(self, artifact: ArtifactRow, entity_id: int) -> tuple[int, int]:
        """Store the entries of the uploaded manifest; returns their total size and number.

        Raises RequestError if a file in it was never uploaded: a committed version is complete.
        They are stored in parts, which nobody sees until the version is committed. If the process
        is killed, the client, to which nothing was acknowledged, commits the version again.
        """
        facts = _facts(self._complete_document(artifact.id))
        entries = [
            Entry(artifact.id, name, known.digest, known.size or 0, known.ref)
            for name, known in facts.items()
        ]
        self._require_contents(entity_id, facts)
        self._delete_other_entries(artifact.id, facts.keys())
        for part in _parts(entries):
            with self._database.write(repeatable=True) as connection:
                connection.executemany(
                    f"INSERT OR REPLACE INTO entry SELECT ?1, ?2, ?3, ?4, ?5 WHERE {_IS_PENDING}",
                    map(astuple, part),
                )
        return sum(entry.size for entry in entries), len(entries)

    def _require_contents(self, entity_id: int, facts: Mapping[str, _Facts]) -> None:
        """Content is never deleted: what is there now is there when the version is committed."""
        with self._database.read(piecewise=True) as connection:
            for name, known in facts.items():
                if (
                    known.ref is None
                    and not connection.execute(
                        "SELECT 1 FROM content WHERE entity_id = ? AND md5 = ?",
                        (entity_id, known.content_key),
                    ).fetchone()
                ):
                    raise RequestError(f"{name!r} is in the manifest but was never uploaded")

    def _delete_other_entries(self, artifact_id: int, names: Collection[str]) -> None:
        """Delete what an earlier attempt to commit the version has left, but for these names."""
        with self._database.read(piecewise=True) as connection:
            found = connection.execute(
                "SELECT name FROM entry WHERE artifact_id = ?", (artifact_id,)
            )
            others = [name for (name,) in found if name not in names]
        for part in _parts(others):
            with self._database.write(repeatable=True) as connection:
                connection.executemany(
                    f"DELETE FROM entry WHERE artifact_id = ?1 AND name = ?2 AND {_IS_PENDING}",  # noqa: S608
                    [(artifact_id, name) for name in part],
                )

    def entries(
        self,
        artifact_id: int,
        *,
        names: Sequence[str] = (),
        first: int,
        after: str | None = None,
    ) -> ListPage[Entry]:
        with self._database.read() as connection:
            rows = connection.execute(
                f"""
                SELECT * FROM entry WHERE {_NAMED} AND name > :after AND {_IS_COMMITTED}
                ORDER BY name LIMIT :limit
                """,  # noqa: S608 - a constant
                _named(artifact_id, names) | {"after": after or "", "limit": first + 1},
            ).fetchall()
        found = [Entry(*row) for row in rows[:first]]
        return ListPage(found, [entry.name for entry in found], len(rows) > first)

    def count_entries(self, artifact_id: int, names: Sequence[str] = ()) -> int:
        with self._database.read() as connection:
            (count,) = connection.execute(
                f"SELECT count(*) FROM entry WHERE {_NAMED} AND {_IS_COMMITTED}",  # noqa: S608
                _named(artifact_id, names),
            ).fetchone()
        return int(count)

    def has_content(self, entity_id: int, digest: str, *, xxh128: bool = False) -> bool:
        return self.content(entity_id, digest, xxh128=xxh128) is not None

    def content(self, entity_id: int, digest: str, *, xxh128: bool = True) -> Path | None:
        """The path of the content with this MD5, or with `xxh128` of that with this XXH128."""
        by_xxh128 = f"{XXH128_PREFIX}{digest}" if xxh128 else digest
        with self._database.read() as connection:
            row = connection.execute(
                """
                SELECT blob FROM content WHERE entity_id = ? AND md5 IN (?, ?)
                ORDER BY md5 = ? DESC
                """,
                (entity_id, digest, by_xxh128, digest),
            ).fetchone()
        return self._blobs.path(row["blob"]) if row else None

    def add_content(self, entity_id: int, digest: str, blob: Blob, *, xxh128: bool = False) -> None:
        """Store content under the announced MD5, or with `xxh128` under its XXH128.

        Raises RequestError if the content has another digest.
        """
        key = digest
        if xxh128 and blob.xxh128 == digest:
            key = f"{XXH128_PREFIX}{digest}"
        elif blob.md5 != digest:
            self._blobs.discard(blob)
            name, found = ("xxh128", blob.xxh128) if xxh128 else ("md5", blob.md5)
            raise RequestError(f"the {name} of the upload is {found}, not {digest} as announced")
        with self._database.write() as connection:
            inserted = connection.execute(
                "INSERT INTO content VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (entity_id, key, blob.token, blob.size),
            ).rowcount
        if not inserted:
            self._blobs.discard(blob)

    def _complete_document(self, artifact_id: int) -> dict[str, Any]:
        """The manifest with all entries, merged if it was sent in parts: as patches from several
        processes, or as the differences from a base version."""
        current = self.current(artifact_id)
        if current is None or current.kind == "FULL":
            return self._document(current)
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM manifest WHERE artifact_id = ? AND blob IS NOT NULL ORDER BY id",
                (artifact_id,),
            ).fetchall()
        parts = [ManifestRow(*row) for row in rows]
        document = self._document(current)
        contents: dict[str, Any] = {}
        if current.kind == "INCREMENTAL" and current.base_id is not None:
            contents |= self._document(self.current(current.base_id))["contents"]
        for part in parts:
            contents |= self._document(part)["contents"]
        document["contents"] = contents
        full = self.announce(
            artifact_id, kind="FULL", name=current.name, digest=current.digest, base_id=None
        )
        self.upload(full, self._blobs.add(orjson.dumps(document)))
        return document

    def _document(self, manifest: ManifestRow | None) -> dict[str, Any]:
        if manifest is None or manifest.blob is None:
            raise RequestError("the manifest of this artifact was never uploaded")
        path = self._blobs.path(manifest.blob)
        charge(path.stat().st_size)
        data = path.read_bytes()
        charge(weight_of(data))
        return _parse(data)


def _named(artifact_id: int, names: Sequence[str]) -> dict[str, Any]:
    return {
        "id": artifact_id,
        "all_names": not names,
        "names": orjson.dumps(list(names)).decode(),
    }


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _ENTRIES_AT_ONCE):
        yield items[start : start + _ENTRIES_AT_ONCE]


def hex_digest(digest: str) -> str:
    """A base64 digest as hexadecimal digits, for links."""
    try:
        content = base64.b64decode(digest, validate=True)
    except ValueError:
        content = b""
    if len(content) != 16:
        raise RequestError(f"{digest!r} is not a base64 md5 or xxh128")
    return content.hex()


def _parse(data: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the manifest is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("contents"), dict):
        raise RequestError("the manifest has no `contents`")
    return document


def _facts(document: dict[str, Any]) -> dict[str, _Facts]:
    found = {}
    for name, facts in document["contents"].items():
        check_name(name)
        try:
            found[name] = msgspec.convert(facts, _Facts, strict=False)
        except msgspec.ValidationError as error:
            raise RequestError(f"{name!r} in the manifest is not valid: {error}") from error
    return found
