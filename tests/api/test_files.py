"""Files of runs: listed, downloaded and verified, uploaded, deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import pytest

from aiowandb import Api, ContentError, DownloadError, NotFoundError, Run, UsageError
from aiowandb_server import RunChanges, Store
from tests.support.tampering import connected, there

pytestmark = pytest.mark.anyio

MODEL = bytes(range(256)) * 9000
CONTENT = {
    "config.yaml": b"lr: 0.1\n",
    "empty.txt": b"",
    "media/images/a.png": b"picture a",
    "media/images/b.png": b"picture b",
    "model.bin": MODEL,
    "wandb-metadata.json": b'{"os": "Linux", "git": {"commit": "c0ffee"}}',
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "wandb") as store:
        project = store.projects.ensure("local", "demo")[0]
        run = store.runs.upsert(project, "r1", RunChanges())[0]
        store.runs.upsert(project, "bare", RunChanges())
        for name, data in CONTENT.items():
            store.files.add(run, name, data)
        yield store


@pytest.fixture
async def run(store: Store) -> AsyncIterator[Run]:
    async with connected(store) as api:
        yield await api.run("local/demo/r1")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


async def test_files_are_listed_page_by_page(run: Run) -> None:
    for per_page in (1, 4, 50):
        files = run.files(per_page=per_page)
        assert [file.name async for file in files] == sorted(CONTENT)
        assert await files.count() == len(CONTENT)


async def test_files_are_chosen_by_names_or_by_a_pattern(run: Run) -> None:
    chosen = run.files(names=["model.bin", "nothing", "empty.txt"])
    assert [file.name async for file in chosen] == ["empty.txt", "model.bin"]
    pictures = run.files(pattern="%.png", per_page=1)
    assert await pictures.count() == 2
    assert (await pictures[-1]).name == "media/images/b.png"
    with pytest.raises(UsageError, match="not both"):
        run.files(names=["a"], pattern="%")
    with pytest.raises(UsageError, match="names must be specified in a list"):
        run.files(names="model.bin")


async def test_a_file_has_its_attributes(run: Run) -> None:
    file = await run.file("media/images/a.png")
    assert (file.name, file.size, file.mimetype) == ("media/images/a.png", 9, "image/png")
    assert file.updated_at is not None
    assert file.updated_at.tzinfo is not None
    assert repr(file) == "<File media/images/a.png (image/png, 9 bytes)>"
    with pytest.raises(NotFoundError, match="local/demo/r1 has no file nothing"):
        await run.file("nothing")


async def test_a_file_is_downloaded_under_its_name(run: Run, out: Path) -> None:
    for name, content in CONTENT.items():
        path = await (await run.file(name)).download(out)
        assert path == out / name
        assert path.read_bytes() == content


async def test_an_existing_file_is_an_error_or_kept_or_replaced(run: Run, out: Path) -> None:
    file = await run.file("config.yaml")
    path = await file.download(out)
    path.write_text("mine")
    with pytest.raises(ValueError, match="exists already"):
        await file.download(out)
    assert (await file.download(out, exist_ok=True)).read_text() == "mine"
    assert (await file.download(out, replace=True)).read_bytes() == CONTENT["config.yaml"]


async def test_all_of_them_are_downloaded_in_their_order(run: Run, out: Path) -> None:
    paths = await run.files(per_page=2).download(out)
    assert paths == [out / name for name in sorted(CONTENT)]
    assert there(out) == CONTENT
    await run.files(pattern="media/%").download(out / "media only")
    assert there(out / "media only").keys() == {"media/images/a.png", "media/images/b.png"}


async def test_a_download_that_is_interrupted_half_way_resumes_there(
    store: Store, out: Path
) -> None:
    half = len(MODEL) // 2
    served: list[int] = []

    def begin(path: str) -> bool:
        if path.endswith("model.bin"):
            served.append(0)
        return False

    def cut(path: str, body: bytes) -> bytes:
        if path.endswith("model.bin"):
            if len(served) == 1:
                body = body[: half - served[0]]
            served[-1] += len(body)
        return body

    async with connected(store, cut, begin, says_length=True) as api:
        run = await api.run("local/demo/r1")
        await (await run.file("model.bin")).download(out)
    assert served == [half, len(MODEL) - half]
    assert there(out) == {"model.bin": MODEL}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda body: body[:-1], r"8 bytes, but W&B announced 9"),
        (lambda body: body.swapcase(), r"its md5 is .*, but W&B announced"),
    ],
    ids=["short", "other"],
)
async def test_content_that_differs_from_what_wandb_announced_is_refused(
    store: Store, out: Path, change: Callable[[bytes], bytes], complaint: str
) -> None:
    def spoil(path: str, body: bytes) -> bytes:
        return change(body) if path.endswith(".png") else body

    async with connected(store, spoil) as api:
        run = await api.run("local/demo/r1")
        with pytest.raises(ContentError, match=complaint):
            await (await run.file("media/images/a.png")).download(out)
    assert there(out) == {}


async def test_a_file_that_a_live_run_has_replaced_is_downloaded_in_its_new_version(
    store: Store, run: Run, out: Path
) -> None:
    file = await run.file("config.yaml")
    known = store.projects.get("local", "demo")
    assert known
    stored = store.runs.get(known, "r1")
    assert stored
    store.files.add(stored, "config.yaml", b"lr: 0.2\nmore: 1\n")
    assert (await file.download(out)).read_bytes() == b"lr: 0.2\nmore: 1\n"


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "C:\\\\outside.txt", "media"])
async def test_a_name_never_leads_out_of_the_folder(store: Store, out: Path, name: str) -> None:
    (out / "media").mkdir(parents=True)

    def rename(path: str, body: bytes) -> bytes:
        return body.replace(b'"config.yaml"', f'"{name}"'.encode()) if "graphql" in path else body

    async with connected(store, rename) as api:
        run = await api.run("local/demo/r1")
        with pytest.raises(DownloadError):
            await run.files().download(out, exist_ok=True)
    assert not (out.parent / "outside.txt").exists()
    assert there(out).keys() <= CONTENT.keys()


async def test_a_cancelled_download_leaves_nothing_behind(store: Store, out: Path) -> None:
    with anyio.CancelScope() as scope:

        def leave(path: str, body: bytes) -> bytes:
            if path.endswith("model.bin"):
                scope.cancel()
            return body

        async with connected(store, leave) as api:
            run = await api.run("local/demo/r1")
            await (await run.file("model.bin")).download(out)
    assert scope.cancelled_caught
    assert there(out) == {}


async def test_a_file_of_this_computer_becomes_one_of_the_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "made" / "here").mkdir(parents=True)
    path = tmp_path / "made" / "here" / "weights.bin"
    path.write_bytes(MODEL * 2)
    file = await run.upload_file(path, root=tmp_path / "made")
    assert (file.name, file.size) == ("here/weights.bin", len(MODEL) * 2)
    assert (await file.download(tmp_path / "back")).read_bytes() == MODEL * 2
    path.write_bytes(b"")
    assert (await run.upload_file(path, root=path.parent)).size == 0
    with pytest.raises(UsageError, match="is not inside"):
        await run.upload_file(path, root=tmp_path / "other")


async def test_a_deleted_file_no_longer_exists(run: Run) -> None:
    await (await run.file("model.bin")).delete()
    assert "model.bin" not in [file.name async for file in run.files()]
    assert await run.files().count() == len(CONTENT) - 1


async def test_a_run_knows_the_machine_it_ran_on(store: Store, run: Run) -> None:
    metadata = await run.metadata()
    assert metadata == {"os": "Linux", "git": {"commit": "c0ffee"}}
    async with connected(store) as api:
        assert await (await api.run("local/demo/bare")).metadata() is None


def test_the_facade_reads_the_same(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "wandb"
    with Api.local(folder) as api:
        run = api.run("local/demo/r1")
        assert run.metadata
        assert run.metadata["os"] == "Linux"
        files = run.files(per_page=2)
        assert len(files) == len(CONTENT)
        assert [file.name for file in files] == sorted(CONTENT)
        assert files[0].download(tmp_path / "out").read_bytes() == CONTENT["config.yaml"]
        assert [file.name for file in files[1:3]] == sorted(CONTENT)[1:3]
        assert len(run.files(pattern="%.png").download(tmp_path / "out")) == 2
        (tmp_path / "note.txt").write_text("hello")
        assert run.upload_file(tmp_path / "note.txt", root=tmp_path).name == "note.txt"
        run.file("note.txt").delete()
        assert len(run.files()) == len(CONTENT)
