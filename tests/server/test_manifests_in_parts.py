"""A version with many files is committed in several transactions, and nobody sees a part of it."""

from __future__ import annotations

import json

import pytest

from aiowandb_server import Store
from aiowandb_server.errors import RequestError
from aiowandb_server.store import manifests
from aiowandb_server.store.artifact_records import ArtifactRow, NewVersion
from aiowandb_server.store.records import ProjectRow
from tests.server.transactions import KilledError, Writes

AT_ONCE = 10
FILES = [f"f{number:02}" for number in range(35)]


@pytest.fixture
def version(store: Store, project: ProjectRow, monkeypatch: pytest.MonkeyPatch) -> ArtifactRow:
    monkeypatch.setattr(manifests, "_ENTRIES_AT_ONCE", AT_ONCE)
    collection = store.collections.ensure(project, "data", "dataset")
    version = store.artifacts.create(collection, NewVersion("digest"))
    send_manifest(store, version, FILES)
    return version


def send_manifest(store: Store, version: ArtifactRow, names: list[str]) -> None:
    contents = {name: {"digest": "d", "ref": "s3://x", "size": 2} for name in names}
    manifest = store.manifests.announce(version.id, kind="FULL", name="m", digest="d", base_id=None)
    text = json.dumps({"contents": contents}).encode()
    store.manifests.upload(manifest, store.blobs.add(text))


def entity(store: Store) -> int:
    found = store.accounts.entity("local")
    assert found
    return found.id


def commit(store: Store, version: ArtifactRow) -> ArtifactRow:
    size, count = store.manifests.settle(version, entity(store))
    return store.artifacts.commit(version.id, size=size, file_count=count)


def files(store: Store, version: ArtifactRow) -> list[str]:
    found = [entry.name for entry in store.manifests.entries(version.id, first=100).items]
    assert store.manifests.count_entries(version.id) == len(found)
    return found


def test_no_transaction_stores_more_than_so_many_entries(
    store: Store, version: ArtifactRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(monkeypatch)
    seen: list[list[str]] = []
    writes.before = lambda _: seen.append(files(store, version))
    assert commit(store, version).file_count == len(FILES)
    assert max(writes.changes) == AT_ONCE
    assert seen == [[]] * 5
    assert files(store, version) == FILES


def test_a_version_whose_commit_was_killed_is_committed_again_with_another_manifest(
    store: Store, version: ArtifactRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    Writes(monkeypatch).kill_before(3)
    with pytest.raises(KilledError):
        commit(store, version)
    monkeypatch.undo()
    assert files(store, version) == []
    send_manifest(store, version, ["f03", "new"])
    assert commit(store, version).size == 4
    assert files(store, version) == ["f03", "new"]


def test_entries_of_a_committed_version_do_not_change(
    store: Store, version: ArtifactRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(monkeypatch)

    def commit_in_between(number: int) -> None:
        if number == 1:
            writes.before = lambda _: None
            commit(store, version)
            send_manifest(store, version, ["other"])

    writes.before = commit_in_between
    store.manifests.settle(version, entity(store))
    assert files(store, version) == FILES
    store.manifests.settle(version, entity(store))
    assert files(store, version) == FILES


def test_a_version_is_not_committed_with_the_entries_of_another_manifest(
    store: Store, version: ArtifactRow
) -> None:
    size, count = store.manifests.settle(version, entity(store))
    send_manifest(store, version, ["other"])
    store.manifests.settle(version, entity(store))
    with pytest.raises(RequestError, match="another manifest"):
        store.artifacts.commit(version.id, size=size, file_count=count)
    assert commit(store, version).file_count == 1
