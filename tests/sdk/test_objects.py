"""Files, console output, artifacts, sweeps and projects of the real SDK, read by it and by us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiowandb import Api
from tests.sdk.conftest import Sdk

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

MAKE = """
import pathlib
pathlib.Path("note.txt").write_text("a note")
with wandb.init(project="things", id="maker") as run:
    print("hello console")
    print("trouble", file=sys.stderr)
    run.save("note.txt")
    for v in (1, 2):
        art = wandb.Artifact("data", type="dataset", description=f"version {v}", metadata={"v": v})
        for name in ("a.txt", "sub/b.txt"):
            with art.new_file(name) as file:
                file.write(name * v)
        if v == 2:
            art.add_reference("https://example.com/x.bin", name="far.bin", checksum=False)
        run.log_artifact(art, aliases=[f"alias{v}"], tags=["t"]).wait()
with wandb.init(project="things", id="user") as run:
    used = run.use_artifact("data:alias1")
    art = wandb.Artifact("derived", type="dataset")
    art.add_reference(used.get_entry("sub/b.txt").ref_url(), name="near/b.txt")
    run.log_artifact(art).wait()
def train():
    with wandb.init() as run:
        run.log({"loss": run.config["lr"] * 2})
sweep = wandb.sweep({"method": "grid", "name": "search", "metric": {"name": "loss",
                     "goal": "minimize"}, "parameters": {"lr": {"values": [0.1, 0.2]}}},
                    project="things")
wandb.agent(sweep, function=train, count=2, project="things")
report(sweep=sweep)
"""

READ = """
from pathlib import Path
api = wandb.Api()
run, user = api.run("local/things/maker"), api.run("local/things/user")
def files(found):
    return sorted([f.name, f.size, f.md5, f.mimetype] for f in found)
def about(art):
    return [art.id, art.name, art.qualified_name, art.type, art.version, sorted(art.aliases),
            art.tags, art.description, art.metadata, art.digest, art.size, art.file_count,
            art.state, art.entity, art.project, art.source_qualified_name, art.is_link]
def content(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in Path(folder).rglob("*")
            if p.is_file()}
"""

OFFICIAL = """
named = {name: api.artifact(f"local/things/{name}")
         for name in ("data", "data:v0", "data:alias2", "derived:latest")}
sweep = api.sweep("local/things/SWEEP")
downloads = {}
for name, prefix in (("data:v0", None), ("derived:latest", None), ("data:v1", "sub")):
    art = api.artifact(f"local/things/{name}")
    downloads[name] = content(art.download(root=f"official/{name[:4]}{prefix}", path_prefix=prefix))
run.file("note.txt").download(root="official/files")
report(
    files=files(run.files()), some=files(run.files(pattern="%.json")), count=len(run.files()),
    note=content("official/files"), metadata=run.metadata,
    console=[[l.number, l.timestamp.isoformat(), l.level, l.label, l.content]
             for l in run.console_logs()],
    tail=[l.content for l in run.console_logs(last=1)],
    named={name: about(art) for name, art in named.items()},
    logged=[about(a) for a in run.logged_artifacts()],
    used=[about(a) for a in user.used_artifacts()],
    versions=[about(a) for a in api.artifacts("dataset", "local/things/data")],
    files_of_artifact=files(named["data:v0"].files()),
    entries={name: [e.digest, e.ref, e.size] for name, e in named["data"].manifest.entries.items()},
    logged_by=named["data"].logged_by().path, used_by=[r.path for r in named["data:v0"].used_by()],
    downloads=downloads,
    sweep=[sweep.id, sweep.name, sweep.state, sweep.config, sweep.order, sweep.path,
           sweep.expected_run_count, sorted(r.id for r in sweep.runs), sweep.best_run().id,
           sweep.best_run("loss").id],
    sweeps=[s.id for s in api.project("things").sweeps()],
    projects=[[p.name, p.entity, p.id, p.path] for p in api.projects()],
)
"""


@pytest.fixture(scope="module")
def sweep(sdk: Sdk) -> str:
    return str(sdk.run(MAKE)["sweep"])


@pytest.fixture(scope="module")
def official(sdk: Sdk, sweep: str) -> dict[str, Any]:
    return sdk.run(READ + OFFICIAL.replace("SWEEP", sweep))


@pytest.fixture(scope="module")
def ours(sdk: Sdk, sweep: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ours")
    with Api(sdk.store.local_key, base_url=sdk.url) as api:
        return read(api, sweep, folder)


def read(api: Api, sweep_id: str, folder: Path) -> dict[str, Any]:
    run, user = api.run("local/things/maker"), api.run("local/things/user")
    names = ("data", "data:v0", "data:alias2", "derived:latest")
    named = {name: api.artifact(f"local/things/{name}") for name in names}
    sweep = api.sweep(f"local/things/{sweep_id}")
    downloads = {}
    for name, prefix in (("data:v0", None), ("derived:latest", None), ("data:v1", "sub")):
        artifact = api.artifact(f"local/things/{name}")
        downloads[name] = content(artifact.download(folder / name, path_prefix=prefix).folder)
    run.file("note.txt").download(folder / "files")
    maker, best, best_by_loss = named["data"].logged_by(), sweep.best_run(), sweep.best_run("loss")
    assert maker
    assert best
    assert best_by_loss
    return {
        "files": files(run.files()),
        "some": files(run.files(pattern="%.json")),
        "count": len(run.files()),
        "note": content(folder / "files"),
        "metadata": run.metadata,
        "console": [
            [x.number, x.timestamp and x.timestamp.isoformat(), x.level, x.label, x.content]
            for x in run.console_logs()
        ],
        "tail": [line.content for line in run.console_logs(last=1)],
        "named": {name: about(artifact) for name, artifact in named.items()},
        "logged": [about(artifact) for artifact in run.logged_artifacts()],
        "used": [about(artifact) for artifact in user.used_artifacts()],
        "versions": [about(artifact) for artifact in api.artifacts("dataset", "local/things/data")],
        "files_of_artifact": files(named["data:v0"].files()),
        "entries": {
            name: [entry.digest, entry.ref, entry.size]
            for name, entry in named["data"].manifest.entries.items()
        },
        "logged_by": maker.path,
        "used_by": [run.path for run in named["data:v0"].used_by()],
        "downloads": downloads,
        "sweep": [
            *(sweep.id, sweep.name, sweep.state, sweep.config, sweep.order, sweep.path),
            *(sweep.expected_run_count, sorted(run.id for run in sweep.runs)),
            *(best.id, best_by_loss.id),
        ],
        "sweeps": [sweep.id for sweep in api.project("things").sweeps()],
        "projects": [[p.name, p.entity, p.id, p.path] for p in api.projects()],
    }


def files(found: Any) -> list[Any]:
    return sorted([file.name, file.size, file.md5, file.mimetype] for file in found)


def about(artifact: Any) -> list[Any]:
    return [
        *(artifact.id, artifact.name, artifact.qualified_name, artifact.type, artifact.version),
        *(sorted(artifact.aliases), artifact.tags, artifact.description, artifact.metadata),
        *(artifact.digest, artifact.size, artifact.file_count, artifact.state, artifact.entity),
        *(artifact.project, artifact.source_qualified_name, artifact.is_link),
    ]


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "what",
    [
        *("files", "some", "count", "note", "metadata", "console", "tail", "named", "logged"),
        *("used", "versions", "files_of_artifact", "entries", "logged_by", "used_by"),
        *("downloads", "sweep", "sweeps", "projects"),
    ],
)
def test_both_clients_read_the_same(
    official: dict[str, Any], ours: dict[str, Any], what: str
) -> None:
    assert ours[what] == official[what]


def test_there_was_something_to_read(ours: dict[str, Any]) -> None:
    assert ours["note"] == {"note.txt": "a note"}
    assert "hello console" in [line[-1] for line in ours["console"]]
    assert ours["downloads"]["derived:latest"] == {"near/b.txt": "sub/b.txt"}
    assert len(ours["versions"]) == 2


def test_the_official_client_downloads_our_uploads(sdk: Sdk, sweep: str, tmp_path: Path) -> None:
    (tmp_path / "ours.txt").write_text("from us")
    with Api(sdk.store.local_key, base_url=sdk.url) as api:
        api.run("local/things/maker").upload_file(tmp_path / "ours.txt", root=tmp_path)
    reported = sdk.run(
        READ + 'run.file("ours.txt").download(root="up"); report(found=content("up"))'
    )
    assert reported["found"] == {"ours.txt": "from us"}
