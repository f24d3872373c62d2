"""Folders that somebody else has prepared: with links, devices and names that lead out of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from aiowandb import AiowandbError, DownloadError, ExportError, UsageError
from aiowandb.cli import cli
from aiowandb.cli.job_files import read_job
from aiowandb.config.credentials import IdentityToken
from aiowandb.config.ini import read_settings
from aiowandb.config.netrc import netrc_password
from aiowandb.export.folders.local import _SharedFiles
from aiowandb.net.access_tokens import AccessTokens
from aiowandb.sync import Api, verify
from aiowandb_server import Store
from tests.support.artifacts import log_artifact

PROJECT = "local/p"
PRECIOUS = b"precious\n" * 10
STATE = ".aiowandb-export"
WHAT = ["runs", "history", "files", "artifacts"]
LINKS = [
    STATE,
    *(f"{STATE}/{name}" for name in ("lock", "journal.jsonl", "drafts", "staged", "artifacts")),
    *(
        f"{STATE}/{name}"
        for name in ("originals", "manifest.jsonl", "manifest.sha256", "journal-copy.jsonl")
    ),
    *("runs.parquet", "history", "history/part-00000.parquet", "files", "files/r", "artifacts"),
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("store")
    with Store.open(folder) as store:
        project, _ = store.projects.ensure("local", "p")
        run, _ = store.runs.upsert(project, "r")
        store.history.append(run, ['{"_step":0,"loss":1}'])
        store.files.add(run, "config.yaml", b"{}")
        log_artifact(store, run, "model", {"w.bin": b"w"}, kind="model")
        store.finish(run)
    with Api.local(folder) as api:
        yield api


@pytest.fixture(scope="module")
def exported(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "out"
    api.runs(PROJECT).export(folder, what=WHAT)  # type: ignore[arg-type]
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file, neither of which is changed."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "file").write_bytes(PRECIOUS)
    yield folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"file": PRECIOUS}


def replace_by_link(path: Path, target: Path) -> None:
    """Lead to the folder of the target if there is a folder at the path, else to its file."""
    is_folder = path.is_dir() or path.name in ("drafts", "staged", "artifacts", "files", "r", STATE)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target if is_folder or path.name == "history" else target / "file")


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_export_follows_no_link_in_its_folder(
    api: Api, exported: Path, tmp_path: Path, elsewhere: Path, name: str, overwrite: bool
) -> None:
    for folder in (tmp_path / "new", Path(shutil.copytree(exported, tmp_path / "old"))):
        replace_by_link(folder / name, elsewhere)
        said = ""
        try:
            api.runs(PROJECT).export(folder, what=WHAT, overwrite=overwrite)  # type: ignore[arg-type]
        except AiowandbError as error:
            said = str(error)
        # Without an error a file has replaced the link; `elsewhere` looks whether it was followed.
        assert not said or "link" in said or "no journal" in said


@pytest.mark.parametrize("name", [STATE, f"{STATE}/lock", f"{STATE}/journal.jsonl", "history"])
def test_a_link_that_an_export_would_write_through_is_named(
    api: Api, tmp_path: Path, elsewhere: Path, name: str
) -> None:
    replace_by_link(tmp_path / "out" / name, elsewhere)
    with pytest.raises(ExportError, match=rf"out/{name} is a symbolic link.* Remove the link"):
        api.runs(PROJECT).export(tmp_path / "out")


@pytest.mark.parametrize("name", ["", "/00000000000000000000.json", "/00000000000000000001.json"])
@pytest.mark.parametrize("table", ["runs", "history"])
def test_no_delta_table_is_written_through_a_link(
    api: Api, tmp_path: Path, elsewhere: Path, table: str, name: str
) -> None:
    api.runs(PROJECT).export(tmp_path / "out", format="delta")
    log = tmp_path / "out" / table / "_delta_log"
    if not name:
        shutil.rmtree(log)
    Path(f"{log}{name}").unlink(missing_ok=True)
    Path(f"{log}{name}").symlink_to(elsewhere / "file" if name else elsewhere)
    with pytest.raises(ExportError, match="is a symbolic link"):
        api.runs(PROJECT).export(tmp_path / "out", format="delta")


def test_the_folder_itself_may_be_a_link(api: Api, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    api.runs(PROJECT).export(tmp_path / "out")
    assert (tmp_path / "disk" / "runs.parquet").is_file()


@pytest.mark.parametrize("name", ["lock", "journal.jsonl"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    api: Api, tmp_path: Path, name: str
) -> None:
    (tmp_path / STATE).mkdir()
    os.mkfifo(tmp_path / STATE / name)
    with pytest.raises(ExportError, match="neither a file nor a folder"):
        api.runs(PROJECT).export(tmp_path)


def test_a_restore_does_not_wait_for_a_pipe(api: Api, exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "old"))
    (content,) = folder.glob("artifacts/*/w.bin")
    content.unlink()
    os.mkfifo(content)
    assert "w.bin cannot be read: it is not a file" in str(api.restore(folder, "local/pipe").failed)


def test_a_file_in_the_place_of_the_state_is_an_error_of_verify(
    exported: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "old"))
    shutil.rmtree(folder / STATE)
    (folder / STATE).touch()
    with pytest.raises(ExportError, match="a folder on the way to it is a file"):
        verify(folder)


@pytest.mark.parametrize("place", ["wandb/settings", ".wandb/settings"])
def test_settings_in_a_folder_are_not_waited_for_nor_read_without_end(
    tmp_path: Path, place: str
) -> None:
    path = tmp_path / place
    path.parent.mkdir()
    environ = {"WANDB_DIR": str(tmp_path), "WANDB_CONFIG_DIR": str(tmp_path / "none")}
    path.symlink_to("/dev/zero")
    assert read_settings(environ).folder == {}
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UsageError, match="settings: it is a pipe, and must be a file"):
        read_settings(environ)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(UsageError, match="settings: it is larger than 1 MB"):
        read_settings(environ)


def test_a_netrc_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / ".netrc"
    path.symlink_to("/dev/zero")
    assert netrc_password(path, "host") is None
    path.unlink()
    with path.open("wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(UsageError, match="netrc: it is larger than 1 MB"):
        netrc_password(path, "host")


def test_a_netrc_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".netrc")
    with pytest.raises(UsageError, match="netrc: it is a pipe, and must be a file"):
        netrc_password(tmp_path / ".netrc", "host")


@pytest.mark.parametrize("name", ["token", "cache"])
def test_files_of_tokens_are_neither_waited_for_nor_read_without_end(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "token").write_text("token")
    tokens = AccessTokens("https://host", IdentityToken(tmp_path / "token", tmp_path / "cache"))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    use = tokens.exchange if name == "token" else tokens.current
    with pytest.raises(UsageError, match=rf"{name}: it is a pipe, and must be a file"):
        anyio.run(use)
    (tmp_path / name).unlink()
    with (tmp_path / name).open("wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(UsageError, match=rf"{name}: it is larger than 1 MB"):
        anyio.run(use)


def test_a_login_replaces_no_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").symlink_to("/dev/zero")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    found = CliRunner().invoke(cli, ["login", "--no-verify"], input="k" * 40)
    assert "Cannot write /dev/zero: it is not a file" in str(found.exception)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 100_000, "is not valid TOML: maximum recursion"),
        ("a = " + "9" * 10_000, "is not valid TOML: Exceeds the limit"),
        ("#" * (2 << 20), "it is larger than 1 MB"),
    ],
)
def test_a_job_file_is_read_only_as_far_as_people_write(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_job(tmp_path / "job.toml")


@pytest.mark.parametrize(
    "name",
    [
        *("runs.parquet", "history", "history/part-00000.parquet", "files", "files/r"),
        *("files/r/config.yaml", "artifacts", f"{STATE}/originals", f"{STATE}/artifacts"),
    ],
)
def test_a_restore_uploads_nothing_through_a_link(
    api: Api, exported: Path, tmp_path: Path, elsewhere: Path, name: str
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "old"))
    (folder / name).rename(tmp_path / "moved")
    (folder / name).symlink_to(tmp_path / "moved")
    with pytest.raises((ExportError, DownloadError), match="symbolic link"):
        api.restore(folder, "local/target")


@pytest.mark.parametrize("run", ["../../elsewhere", "/etc", "..", "a/../../../elsewhere"])
def test_a_restore_takes_no_files_from_elsewhere_whatever_a_run_is_called(
    api: Api, exported: Path, tmp_path: Path, elsewhere: Path, run: str
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "old"))
    table = pq.read_table(folder / "runs.parquet")
    names = pa.array([run], table.schema.field("run_id").type)
    index = table.schema.get_field_index("run_id")
    pq.write_table(table.set_column(index, "run_id", names), folder / "runs.parquet")
    with pytest.raises(DownloadError, match="is refused"):
        api.restore(folder, "local/target")


def test_a_restore_takes_no_artifacts_from_elsewhere(
    api: Api, exported: Path, tmp_path: Path, elsewhere: Path
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "old"))
    (described,) = (folder / STATE / "artifacts").glob("*.json")
    text = described.read_text()
    for place in ("../../elsewhere", str(elsewhere)):
        described.write_text(text.replace('"name":"model"', f'"name":"{place}"'))
        assert place in described.read_text()
        report = api.restore(folder, "local/artifacts")
        assert "is refused" in str(report.failed)


def test_a_download_follows_no_link(api: Api, tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").symlink_to(elsewhere / "file")
    with pytest.raises(DownloadError, match="symbolic link"):
        api.run(f"{PROJECT}/r").file("config.yaml").download(tmp_path / "out")


def test_a_lease_is_written_through_no_link(tmp_path: Path, elsewhere: Path) -> None:
    files = _SharedFiles(tmp_path)
    (tmp_path / f".lease.{os.getpid()}").symlink_to(elsewhere / "file")
    files.write("lease", b"mine")
    assert files.read("lease") == b"mine"
    assert not (tmp_path / "lease").is_symlink()
