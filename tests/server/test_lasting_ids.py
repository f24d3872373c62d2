"""Ids, version numbers and links are never reused, also after a deletion."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aiowandb_server import RunChanges, Store
from aiowandb_server.graphql.scalars import encode_id
from aiowandb_server.links import LIFETIME_S
from aiowandb_server.store.artifact_records import ArtifactRow, NewVersion
from aiowandb_server.store.records import ProjectRow, RunRow
from aiowandb_server.store.sweeps import SweepChanges
from tests.server.conftest import Client, Clock
from tests.support.old_stores import old_store

DELETE_RUN = "mutation($id: ID!){deleteRun(input:{id:$id}){clientMutationId}}"
STORAGE_ID = 'query($run:String!){project(name:"demo"){run(name:$run){id}}}'
FILES = (
    'query($run:String!){project(name:"demo"){run(name:$run){files{edges{node{id directUrl}}}}}}'
)
UPLOAD = """
mutation($run: ID!) { createRunFiles(input: {
  entityName: "local", projectName: "demo", runName: $run, files: ["a.txt"]
}) { files { uploadUrl } } }
"""
# The last schema under which ids could come back.
OLD_SCHEMA = 6


async def storage_id(client: Client, run: str) -> str:
    found: str = (await client.ask(STORAGE_ID, run=run))["project"]["run"]["id"]
    return found


async def file_of(client: Client, run: str) -> dict[str, str]:
    ((edge),) = (await client.ask(FILES, run=run))["project"]["run"]["files"]["edges"]
    found: dict[str, str] = edge["node"]
    return found


@pytest.mark.anyio
async def test_a_deletion_sent_again_deletes_nothing_made_since(
    client: Client, store: Store, project: ProjectRow
) -> None:
    for name in ("a", "b"):
        store.runs.upsert(project, name)
    deleted = await storage_id(client, "b")
    await client.ask(DELETE_RUN, id=deleted)
    store.runs.upsert(project, "c")
    assert await storage_id(client, "c") != deleted
    await client.ask(DELETE_RUN, id=deleted)
    assert store.runs.get(project, "c") is not None


@pytest.mark.anyio
async def test_a_change_of_a_deleted_run_does_not_affect_others(
    client: Client, store: Store, project: ProjectRow
) -> None:
    store.runs.upsert(project, "b")
    deleted = await storage_id(client, "b")
    await client.ask(DELETE_RUN, id=deleted)
    store.runs.upsert(project, "b", RunChanges(config='{"mine": {"value": 1}}'))
    status, _ = await client.refusal(
        'mutation($id:String){upsertBucket(input:{id:$id,displayName:"x",config:"{}"}){inserted}}',
        id=deleted,
    )
    run = store.runs.get(project, "b")
    assert status == 404
    assert run is not None
    assert (run.display_name, run.config) == ("b", '{"mine": {"value": 1}}')


@pytest.mark.anyio
async def test_a_link_to_a_deleted_file_does_not_open_its_successor(
    client: Client, store: Store, run: RunRow
) -> None:
    store.files.add(run, "a.txt", b"first")
    first = await file_of(client, "r1")
    store.files.add(run, "a.txt", b"changed")
    assert (await client.keyless.get(first["directUrl"])).content == b"changed"
    await client.ask(
        "mutation($files:[ID!]!){deleteFiles(input:{files:$files}){success}}", files=[first["id"]]
    )
    store.files.add(run, "a.txt", b"second")
    second = await file_of(client, "r1")
    assert second["id"] != first["id"]
    assert (await client.keyless.get(first["directUrl"])).status_code == 404
    assert (await client.keyless.get(second["directUrl"])).content == b"second"
    other = second["directUrl"].rpartition("&id=")[2].partition("&")[0]
    forged = first["directUrl"].replace("&id=1", f"&id={other}")
    assert (await client.keyless.get(forged)).status_code == 401


@pytest.mark.anyio
async def test_an_upload_for_a_deleted_run_does_not_reach_its_namesake(
    client: Client, store: Store, project: ProjectRow, run: RunRow, clock: Clock
) -> None:
    made = (await client.ask(UPLOAD, run="r1"))["createRunFiles"]["files"][0]
    store.runs.delete(run.id)
    namesake, _ = store.runs.upsert(project, "r1")

    async def slowly() -> AsyncIterator[bytes]:
        yield b"o"
        clock.now += LIFETIME_S + 1
        yield b"ld"

    for content in (b"old", slowly()):
        response = await client.keyless.put(made["uploadUrl"], content=content)
        assert response.status_code == 404
    assert store.files.count(namesake) == 0


def test_an_early_part_is_of_the_run_that_it_is_asked_for(tmp_path: Path) -> None:
    # Stores of before have files that are named after ids of runs, of which some are others now.
    with Store.open(tmp_path) as store:
        project, _ = store.projects.ensure("local", "demo")
        run, _ = store.runs.upsert(project, "r")
        store.history.append(run, [f'{{"_step":{step},"x":1}}' for step in range(4)])
        (old,) = store.history.exported(run, "mixed").tokens
        for name in (f"early-{run.id}-0-4", f"early-{run.id + 1}-0-4"):
            store.history.columns_path(name).write_bytes(
                store.history.columns_path(old).read_bytes()
            )
        store.runs.delete(run.id)
        run, _ = store.runs.upsert(project, "r")
        store.history.append(run, [f'{{"_step":{step},"x":2}}' for step in range(4)])
        exported = store.history.exported(run, "mixed")
        assert exported == store.history.exported(run, "mixed"), "the same rows are the same file"
        assert exported.tokens[0] not in (old, f"early-{run.id}-0-4")


def version_of(store: Store, project: ProjectRow, name: str) -> int | None:
    collection = store.collections.ensure(project, "data", "dataset")
    artifact = store.artifacts.create(collection, NewVersion(digest=name, client_id=name))
    return store.artifacts.commit(artifact.id, size=0, file_count=0).version


def test_the_number_of_a_deleted_version_is_not_given_out_again(
    store: Store, project: ProjectRow
) -> None:
    assert [version_of(store, project, name) for name in "abc"] == [0, 1, 2]
    newest = store.artifacts.by_client_id("c")
    assert newest is not None
    store.artifacts.delete(newest, with_aliases=True)
    assert version_of(store, project, "d") == 3
    assert version_of(store, project, "d") == 3, "a version that is committed again stays itself"


@pytest.mark.anyio
async def test_the_client_id_of_a_deleted_version_can_be_used_again(
    client: Client, store: Store, project: ProjectRow
) -> None:
    data = store.collections.ensure(project, "data", "dataset")
    deleted = store.artifacts.create(data, NewVersion(digest="1", client_id="mine"))
    store.artifacts.delete(deleted, with_aliases=True)
    newer = store.artifacts.create(data, NewVersion(digest="2", client_id="mine"))
    assert newer.id != deleted.id
    found = await client.ask('{clientIDMapping(clientID: "mine"){serverID}}')
    assert found["clientIDMapping"]["serverID"] == encode_id("Artifact", newer.id)


@pytest.mark.anyio
async def test_each_client_that_logs_the_same_content_finds_the_version_by_its_own_id(
    client: Client, store: Store, project: ProjectRow
) -> None:
    async def version_of(client_id: str) -> str:
        found = await client.ask(f'{{clientIDMapping(clientID: "{client_id}"){{serverID}}}}')
        return str(found["clientIDMapping"]["serverID"])

    def logged(client_id: str) -> ArtifactRow:
        new = NewVersion(digest="1", client_id=client_id, reuse_same_digest=True)
        return store.artifacts.create(data, new)

    data = store.collections.ensure(project, "data", "dataset")
    first = logged("one")
    store.artifacts.commit(first.id, size=0, file_count=0)
    assert {logged("two").id, logged("two").id, logged("one").id} == {first.id}
    assert await version_of("one") == await version_of("two") == encode_id("Artifact", first.id)
    store.artifacts.delete(first, with_aliases=True)
    again = logged("two")
    assert again.id != first.id
    assert await version_of("two") == encode_id("Artifact", again.id)


def test_the_number_of_a_removed_link_is_not_given_out_again(
    store: Store, project: ProjectRow
) -> None:
    portfolio = store.collections.ensure(project, "best", "dataset", "PORTFOLIO")
    for name in "ab":
        version_of(store, project, name)
    first, second = (store.artifacts.by_client_id(name) for name in "ab")
    assert first is not None
    assert second is not None
    assert store.artifacts.link(first, portfolio, []).version == 0
    assert store.artifacts.link(second, portfolio, []).version == 1
    store.artifacts.unlink(second, portfolio)
    assert store.artifacts.link(first, portfolio, []).version == 0, "it is a member already"
    assert store.artifacts.link(second, portfolio, []).version == 2


def test_no_table_with_public_ids_reuses_an_id(store: Store) -> None:
    with store._database.read() as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' "
            "AND sql LIKE '% id %INTEGER PRIMARY KEY%' AND sql NOT LIKE '%AUTOINCREMENT%'"
        ).fetchall()
    assert {name for (name,) in tables} == {"alert", "replaced_line"}, "these are never named"


def test_what_sqlite_searches_is_short(tmp_path: Path) -> None:
    """A look at a key of a table without rowids reads all of its row."""
    with (
        Store.open(tmp_path) as store,
        closing(sqlite3.connect(store.folder / "store.sqlite")) as c,
    ):
        tables = c.execute("SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'")
        texts = {
            (table, column)
            for (table,) in tables.fetchall()
            for _, column, kind, *_ in c.execute(f"PRAGMA table_info({table})")
            if kind in ("TEXT", "BLOB")
        }
    assert not {"text", "lines", "config", "summary"} & {column for _, column in texts}
    assert {table for table, _ in texts} == {
        *("assignment", "entry", "content", "artifact_use", "writer_range", "run_value")
    }


def fill_old_store(folder: Path) -> None:
    """A store as earlier versions made them, with something in each table."""
    with old_store(folder, OLD_SCHEMA) as connection:
        connection.executescript(
            """
            INSERT INTO entity VALUES (1, 'local', 0, 5), (3, 'team', 1, 5);
            INSERT INTO user VALUES (1, 'local', 'local', 'local@localhost', 1, 1, 5);
            INSERT INTO member VALUES (1, 1, 1);
            INSERT INTO api_key VALUES (4, 1, x'00', '123456', NULL, 5);
            INSERT INTO project (id, entity_id, name, user_id, created_at)
                VALUES (2, 1, 'demo', 1, 5);
            INSERT INTO run (id, project_id, name, state, created_at, heartbeat_at, display_name,
                             config, history_lines)
                VALUES (1, 2, 'a', 'finished', 5, 5, 'A', '{"lr": {"value": 1}}', 2),
                       (7, 2, 'b', 'finished', 6, 6, 'B', '{}', 0);
            INSERT INTO line VALUES (1, 'history', 0, 0, '{"_step":0,"x":1}'),
                                    (1, 'history', 1, 1, '{"_step":1,"x":2}');
            INSERT INTO rejected_line VALUES (1, 'history', 9, 'no JSON');
            INSERT INTO replaced_line VALUES (1, 1, 0, '{"_step":0,"x":0}');
            INSERT INTO writer_range VALUES (1, 'history', 'append:w', 0, 2, 0);
            INSERT INTO file VALUES (5, 1, 'f.txt', 'blob', 4, 'md5', 5);
            INSERT INTO alert VALUES (1, 1, 'title', 'text', 'INFO', 5);
            INSERT INTO report VALUES (2, 2, 'n', 'N', NULL, 1, '{}', 5, 5);
            INSERT INTO sweep (id, project_id, name, config, state, created_at, updated_at)
                VALUES (3, 2, 's', 'method: random', 'PENDING', 5, 5);
            INSERT INTO agent VALUES (4, 3, 'agent', 'host', 5, 5);
            INSERT INTO assignment VALUES (3, 0, 4, 'a');
            INSERT INTO artifact_type VALUES (1, 2, 'dataset', NULL, 5);
            INSERT INTO collection VALUES (6, 2, 1, 'SEQUENCE', 'data', NULL, 5, 5);
            INSERT INTO artifact (id, collection_id, client_id, state, digest, run_id, created_at,
                                  updated_at)
                VALUES (1, 6, 'c0', 'COMMITTED', 'd0', 1, 5, 5),
                       (2, 6, 'c1', 'DELETED', 'd1', 1, 5, 5),
                       (9, 6, 'c2', 'PENDING', 'd2', 1, 5, 5);
            INSERT INTO membership VALUES (1, 6, 1, 0, 5);
            INSERT INTO alias VALUES (2, 6, 1, 'best');
            INSERT INTO artifact_tag VALUES (1, 1, 'tag');
            INSERT INTO collection_tag VALUES (1, 6, 'tag');
            INSERT INTO manifest VALUES (1, 1, 'FULL', 'wandb_manifest.json', '', NULL, 'blob', 5);
            INSERT INTO entry VALUES (1, 'f', 'md5', 4, NULL);
            INSERT INTO content VALUES (1, 'md5', 'blob', 4);
            INSERT INTO artifact_use VALUES (1, 1, 'output', NULL);
            """
        )


def rows(folder: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(folder / "store.sqlite")) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables}


def schema(connection: sqlite3.Connection) -> Any:
    """The version, what there is, and which tables count their ids."""
    version = connection.execute("PRAGMA user_version").fetchone()
    made = dict(connection.execute("SELECT name, sql FROM sqlite_master"))
    return (
        version,
        made,
        {name for (name,) in connection.execute("SELECT name FROM sqlite_sequence")},
    )


def test_an_old_store_keeps_its_data(tmp_path: Path) -> None:
    fill_old_store(tmp_path)
    before = rows(tmp_path)
    with Store.open(tmp_path) as store:
        project = store.projects.get("local", "demo")
        assert project is not None
        assert project.run_count == 2
    after = rows(tmp_path)
    del before["api_key"], before["retired_file"]  # the store makes a key of its own
    # A later migration added a column.
    before["artifact"] = [(*row, "MANIFEST_MD5") for row in before["artifact"]]
    assert {name: after[name] for name in before} == before
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        migrated = schema(connection)
    Store.open(tmp_path / "new").close()
    with closing(sqlite3.connect(tmp_path / "new" / "store.sqlite")) as connection:
        assert schema(connection) == migrated


def test_an_old_store_never_reuses_an_id(tmp_path: Path) -> None:
    fill_old_store(tmp_path)
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection:
        # Somebody may remember the ids of all these, and a few above them.
        connection.executescript(
            "PRAGMA foreign_keys = ON; DELETE FROM run WHERE name = 'b'; DELETE FROM sweep;"
            "DELETE FROM file; DELETE FROM report; DELETE FROM artifact WHERE id = 9"
        )
    with Store.open(tmp_path) as store:
        project = store.projects.get("local", "demo")
        assert project is not None
        run, _ = store.runs.upsert(project, "c")
        sweep = store.sweeps.create(
            project, SweepChanges(config="{method: random, parameters: {x: {value: 1}}}")
        )
        assert run.id > 7
        assert store.files.add(run, "a", b"").id > 5
        assert sweep.id > 3
        assert store.sweeps.add_agent(sweep, "host").id > 4
        assert store.reports.add(project, "title").id > 2
        assert store.collections.ensure(project, "more", "model").id > 6
        assert store.projects.ensure("local", "more")[0].id > 2
        assert store.accounts.ensure_entity("more").id > 3
        assert version_of(store, project, "new") == 2, "v1 was the deleted one"
        new = store.artifacts.by_client_id("new")
        assert new is not None
        assert new.id > 9


def test_deleting_works_in_an_old_store(tmp_path: Path) -> None:
    fill_old_store(tmp_path)
    with Store.open(tmp_path) as store:
        project = store.projects.get("local", "demo")
        assert project is not None
        store.projects.delete(project.id)
    left = rows(tmp_path)
    for table in ("run", "line", "file", "sweep", "agent", "assignment", "artifact", "alias"):
        assert left[table] == [], table
    assert ("blobs/blob",) in [row[:1] for row in left["retired_file"]], "its bytes are swept later"


KILLED_WITHIN = """
import os, sys
from aiowandb_server.store import schema, store
statements, left = schema._statements, int(sys.argv[2])
def counted(script):
    global left
    for statement in statements(script):
        left -= 1
        if left < 0:
            os._exit(9)
        yield statement
schema._statements = counted
store.Store.open(sys.argv[1]).close()
"""


@pytest.mark.parametrize(
    "statements", [20, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 60))]
)
def test_an_old_store_survives_a_kill_during_its_migration(tmp_path: Path, statements: int) -> None:
    fill_old_store(tmp_path)
    before = rows(tmp_path)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WITHIN, str(tmp_path), str(statements)], check=False
    )
    assert killed.returncode == 9
    assert rows(tmp_path) == before
    Store.open(tmp_path).close()
    assert rows(tmp_path)["run"] == before["run"]


@pytest.mark.anyio
@pytest.mark.parametrize("number", ["-1", " 1", "01", "1_0", "١", "9" * 30])
async def test_an_id_is_written_in_one_way_only(client: Client, run: RunRow, number: str) -> None:
    status, _ = await client.refusal(
        "mutation($id: ID!){stopRun(input:{id:$id}){success}}", id=encode_id("Run", number)
    )
    assert status == 404
