"""Folders whose journal, manifest or other state somebody else has written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb import ExportError
from aiowandb.export.claim import JOURNAL
from aiowandb.export.folders.local import LocalFolder
from aiowandb.export.journal import read_state
from aiowandb.export.manifest import FileDigest, digest_of, read_manifest, write_manifest
from aiowandb.sync import Api, verify
from aiowandb_server import Store

PROJECT = "local/p"
STATE = ".aiowandb-export"
PRECIOUS = b"precious\n"
ELSEWHERE = ["../../elsewhere/{}", "{root}/elsewhere/{}"]
RUN = {"run": "r", "storage_id": "x", "lines": 1, "last_step": 0}
PART = {"number": 7, "schema": 1, "size": 1, "runs": [{"listed": RUN}]}
STAGED = {"stored": {"listed": RUN}, "start": 0, "size": 1, "checksum": 1}
RESTORED = {"schema_number": 1, "next_number": 1, "kinds": {}, "clashes": []}
ACTIONS: dict[str, Callable[[Api, Path], object]] = {
    "export": lambda api, folder: api.runs(PROJECT).export(folder),
    "overwrite": lambda api, folder: api.runs(PROJECT).export(folder, overwrite=True),
    "repair": lambda api, folder: api.runs(PROJECT).export(folder, repair=True),
    "verify": lambda api, folder: verify(folder),
    "restore": lambda api, folder: api.restore(folder, "local/t", on_existing="skip"),
}


def records(name: str, folder: str) -> list[dict[str, Any]]:
    """Records of a journal that name this file, and a dataset in this folder."""
    history: dict[str, Any] = {"dataset": "history"}
    return [
        {"record": "committed", **history, "part": {**PART, "file": name}},
        {"record": "staged", **history, "run": {**STAGED, "file": name}},
        {"record": "rendered", **history, "file": name, "parts": [], "size": 1},
        {"record": "restored", **history, **RESTORED, "files": [name]},
        {"record": "fetched", "kind": "files", "run": RUN, "files": [[name, 1]]},
        {"record": "restored", "dataset": folder, **RESTORED, "files": ["file"]},
        {"record": "committed", "dataset": folder, "part": {**PART, "file": "file"}},
    ]


def build_project(folder: Path) -> None:
    """The project, with one run that has finished, in an embedded W&B."""
    with Store.open(folder) as store:
        project, _ = store.projects.ensure("local", "p")
        run, _ = store.runs.upsert(project, "r")
        store.history.append(run, ['{"_step":0,"loss":1}'])
        store.finish(run)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("store")
    build_project(folder)
    with Api.local(folder) as api:
        yield api


@pytest.fixture(scope="module")
def exported(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "out"
    api.runs(PROJECT).export(folder)
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "above" / "out"))


def add_to_journal(folder: Path, line: str) -> None:
    with (folder / STATE / "journal.jsonl").open("a") as journal:
        journal.write(line + "\n")


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("path", ELSEWHERE)
def test_a_journal_that_names_a_file_elsewhere_is_damaged(
    tmp_path: Path, path: str, number: int
) -> None:
    name, above = path.format("file", root=tmp_path), path.format("", root=tmp_path)
    (tmp_path / STATE).mkdir()
    add_to_journal(tmp_path, json.dumps(records(name, above.rstrip("/"))[number]))
    with pytest.raises(ExportError, match=r"journal.jsonl cannot be read .*a file in the folder"):
        read_state(LocalFolder(tmp_path), JOURNAL)


@pytest.mark.parametrize("action", ACTIONS)
def test_no_file_elsewhere_is_moved_or_removed_for_a_journal(
    api: Api, folder: Path, tmp_path: Path, action: str
) -> None:
    places = (tmp_path / "elsewhere", tmp_path / "above" / "elsewhere")
    for place in places:
        place.mkdir()
        (place / "file").write_bytes(PRECIOUS)
    for path in ELSEWHERE:
        name, above = path.format("file", root=tmp_path), path.format("", root=tmp_path)
        for record in records(name, above.rstrip("/")):
            add_to_journal(folder, json.dumps(record))
    with suppress(ExportError):
        ACTIONS[action](api, folder)
    for place in places:
        assert {path.name: path.read_bytes() for path in place.iterdir()} == {"file": PRECIOUS}


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "..", "a/..", "C:x", "\\x", "a\\..\\x", "a\0b", ""]
)
def test_a_manifest_names_no_file_elsewhere(tmp_path: Path, name: str) -> None:
    folder = LocalFolder(tmp_path)
    with folder.lock():
        write_manifest(folder, {name: FileDigest(1, "0" * 64)})
    with pytest.raises(ExportError, match=r"manifest.jsonl is damaged: Expected the name of a"):
        read_manifest(folder)


@pytest.mark.parametrize("name", ["a..b", "..a/b", "ab:c", "a/b.", "é\n", "run/..."])
def test_a_manifest_names_files_with_odd_names(tmp_path: Path, name: str) -> None:
    folder = LocalFolder(tmp_path)
    with folder.lock():
        write_manifest(folder, {name: FileDigest(1, "0" * 64)})
    assert list(read_manifest(folder) or ()) == [name]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\0b"])
def test_no_name_leads_out_of_a_folder(tmp_path: Path, name: str) -> None:
    folder = LocalFolder(tmp_path / "out")
    for use in (folder.size, folder.remove, folder.remove_folder, folder.open, folder.read_log):
        with pytest.raises(ExportError, match="is not the name of a file in"):
            use(name)


@pytest.mark.parametrize("name", ["journal.jsonl", "manifest.jsonl", "lock"])
def test_json_that_is_nested_too_deeply_is_damaged(api: Api, folder: Path, name: str) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    (folder / STATE / name).write_text('{"record":"deleted","runs":[],"more":' + deep + "}\n")
    assert bool(verify(folder).problems) == (name != "lock")
    if name == "journal.jsonl":
        with pytest.raises(ExportError, match=r"no journal of its export. Use repair"):
            api.runs(PROJECT).export(folder)
    api.runs(PROJECT).export(folder, repair=True)
    assert not verify(folder).problems


@pytest.mark.parametrize("name", ["journal.jsonl", "manifest.jsonl", "journal-copy.jsonl"])
def test_a_sparse_file_is_not_read_into_memory(api: Api, folder: Path, name: str) -> None:
    os.truncate(folder / STATE / name, 10 << 30)
    with pytest.raises(ExportError, match=rf"{name} has 10 GB, .* Remove it"):
        verify(folder)
    api.runs(PROJECT).export(folder, overwrite=True)
    assert not verify(folder).problems


@pytest.mark.parametrize("name", ["journal.jsonl", "lock"])
def test_no_state_is_written_through_a_hard_link(
    api: Api, folder: Path, tmp_path: Path, name: str
) -> None:
    """As of a backup made with hard links, or of a file that somebody else has linked there."""
    other = tmp_path / "other"
    os.link(folder / STATE / name, other)
    before = other.read_bytes()
    with pytest.raises(ExportError, match=rf"{name} is a hard link.* Replace it by a copy"):
        api.runs(PROJECT).export(folder)
    with suppress(ExportError):
        api.runs(PROJECT).export(folder, overwrite=True)
    assert other.read_bytes() == before
    assert not verify(folder).problems


@pytest.mark.parametrize("name", ["history", f"{STATE}/artifacts", "files"])
def test_a_restore_takes_no_folder_that_cannot_be_read_for_an_empty_one(
    api: Api, folder: Path, name: str
) -> None:
    shutil.rmtree(folder / name, ignore_errors=True)
    (folder / name).touch()
    with pytest.raises(ExportError, match=rf"Cannot read .*{name}.*: Not a directory"):
        api.restore(folder, "local/t", on_existing="skip")


# Of which a table below needs 1.5 GB as a whole.
LIMITED = """
import resource, sys, threading
import pyarrow, pyarrow.parquet, pyarrow.compute
threading.stack_size(1 << 20)
pyarrow.set_memory_pool(pyarrow.system_memory_pool())
from aiowandb.sync import Api, verify

store, folder = sys.argv[1:]
with Api.local(store) as api:
    runs = api.runs("local/p")
    runs.count()
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1000 << 20),) * 2)
    print(*verify(folder, api=api).problems, sep="; ")
    print(len(runs.export(folder, repair=True).failed))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("runs.parquet", "its runs cannot be read"),
        ("history/part-00000.parquet", "the id of a run has 100,000 characters"),
        (f"{STATE}/originals", "its runs cannot be read"),
    ],
)
def test_small_tables_that_stand_for_large_ones_are_verified_and_repaired_in_bounded_memory(
    tmp_path: Path, name: str, said: str
) -> None:
    store, folder = tmp_path / "store", tmp_path / "out"
    build_project(store)
    with Api.local(store) as api:
        api.runs(PROJECT).export(folder)
    rows = pa.array([0] * 15_000, pa.int32())
    columns: dict[str, pa.Array[Any]] = {
        field.name: pa.nulls(len(rows), field.type) for field in pq.read_schema(folder / name)
    }
    columns["run_id"] = pa.DictionaryArray.from_arrays(rows, pa.array(["x" * 100_000]))
    pq.write_table(pa.table(columns), folder / name, compression="zstd", store_schema=False)
    assert (folder / name).stat().st_size < 1 << 20
    local = LocalFolder(folder)
    with local.lock(), (folder / name).open("rb") as file:
        write_manifest(local, {**(read_manifest(local) or {}), name: digest_of(file)})
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(store), str(folder)],
        capture_output=True,
        timeout=300,
        # Each arena of the allocator reserves 64 MB of addresses.
        env={"MALLOC_ARENA_MAX": "1", "HOME": "/nowhere"},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    problems, failed = done.stdout.decode().splitlines()
    assert f"{name}: " in problems
    assert said in problems
    assert failed == "0"
