"""Artifacts that the real SDK logs, uses, links, changes and deletes."""

from __future__ import annotations

import pytest

from aiowandb import Api
from tests.sdk.conftest import Sdk

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

MAKE = """
def make(name, text="x", file="f.txt", type="dataset", **more):
    artifact = Artifact(name, type, **more)
    with artifact.new_file(file, "w") as handle:
        handle.write(text)
    return artifact

def log(artifact, project, **more):
    with wandb.init(project=project) as run:
        run.log_artifact(artifact, **more)
    return artifact.wait()
"""


def test_versions_go_up_and_come_down(sdk: Sdk) -> None:
    reported = sdk.run(
        MAKE
        + """
folder = pathlib.Path("things"); (folder / "sub").mkdir(parents=True)
(folder / "a.txt").write_text("a"); (folder / "sub" / "b.txt").write_text("b")
artifact = Artifact("set", "dataset", description="d", metadata={"k": [1, math.nan]})
artifact.add_dir(str(folder))
artifact.add(wandb.Table(columns=["c"], data=[[1]]), "table")
log(artifact, "up", aliases=["best"], tags=["good"])
log(make("set", "second"), "up")
log(make("set", "second"), "up")
with wandb.init(project="up") as user:
    used = user.use_artifact("set:best")
    down = pathlib.Path(used.download(root="down"))
    used.verify(root="down")
api = Api(overrides={"project": "up"})
read = api.artifact("set:v0")
entry = read.get_entry("a.txt").download(root="one", skip_cache=True)
report(files=sorted(str(p.relative_to(down)) for p in down.rglob("*.txt")),
     text=(down / "sub" / "b.txt").read_text(), entry=open(entry).read(),
     table=read.get("table").data, metadata=read.metadata, description=read.description,
     tags=read.tags, aliases=read.aliases, latest=api.artifact("set:latest").version,
     versions=[a.version for a in api.artifacts("dataset", "set")], size=read.size > 2,
     used=[run.id for run in read.used_by()] == [user.id], by=read.logged_by() is not None,
     of_run=[a.name for a in api.run(f"local/up/{user.id}").used_artifacts()],
     count=len(read.files()), some=len(read.files(names=["a.txt"])),
     exists=[api.artifact_exists("set:v1"), api.artifact_exists("set:v2"),
             api.artifact_collection_exists("set", "dataset")])
"""
    )
    assert reported == {
        "files": ["a.txt", "sub/b.txt"],
        "text": "b",
        "entry": "a",
        "table": [[1]],
        "metadata": {"k": [1, None]},
        "description": "d",
        "tags": ["good"],
        "aliases": ["best"],
        "latest": "v1",
        "versions": ["v1", "v0"],
        "size": True,
        "used": True,
        "by": True,
        "of_run": ["set:v0"],
        "count": 3,
        "some": 1,
        "exists": [True, False, True],
    }


def test_versions_build_upon_others(sdk: Sdk) -> None:
    reported = sdk.run(
        MAKE
        + """
log(make("grow", "1", "a.txt"), "build")
log(make("grow", "2", "b.txt", incremental=True), "build")
api = Api(overrides={"project": "build"})
both = sorted(api.artifact("grow:latest").manifest.entries)
draft = api.artifact("grow:latest").new_draft()
with draft.new_file("c.txt") as handle: handle.write("3")
log(draft, "build")
three = sorted(api.artifact("grow:latest").manifest.entries)
for file in ("d.txt", "e.txt"):
    with wandb.init(project="build", group="together") as run:
        run.upsert_artifact(make("many", file, file))
with wandb.init(project="build", group="together") as run:
    run.finish_artifact(Artifact("many", "dataset"))
table = wandb.Table(columns=["c"], data=[[7]])
first = Artifact("one", "dataset"); first.add(table, "t"); log(first, "build")
second = Artifact("two", "dataset"); second.add(table, "t"); log(second, "build")
entry = api.artifact("two:latest").manifest.entries["t.table.json"]
report(both=both, three=three, many=sorted(api.artifact("many:latest").manifest.entries),
     reference=entry.ref.startswith("wandb-artifact://"),
     table=api.artifact("two:v0").get("t").data)
"""
    )
    assert reported == {
        "both": ["a.txt", "b.txt"],
        "three": ["a.txt", "b.txt", "c.txt"],
        "many": ["d.txt", "e.txt"],
        "reference": True,
        "table": [[7]],
    }


def test_links_models_and_collections(sdk: Sdk) -> None:
    reported = sdk.run(
        MAKE
        + """
pathlib.Path("weights.bin").write_text("w")
with wandb.init(project="models") as run:
    run.log_model("weights.bin", "net")
    linked = run.link_artifact(make("plain", type="model"), "shelf")
    run.link_model("weights.bin", "registered", "net2")
with wandb.init(project="models") as run:
    used = run.use_model("net:v0")
    registered = run.use_model("model-registry/registered:latest")
api = Api(overrides={"project": "models"})
shelf = api.artifact("shelf:latest")
facts = dict(used=open(used).read(), registered=open(registered).read(), link=linked.is_link,
             source=shelf.source_name,
             links=[a.name for a in api.artifact("plain:v0").linked_artifacts])
shelf.aliases = ["chosen"]; shelf.save()
chosen = api.artifact("shelf:chosen").source_name
shelf.unlink()
collection = api.artifact_collection("model", "plain")
collection.description, collection.tags, collection.name = "d", ["x"], "plainer"
collection.save()
renamed = api.artifact_collection("model", "plainer")
kind = api.artifact_type("model")
names = [c.name for c in kind.collections(order="name")]
found = [c.name for c in kind.collections(filters={"name": "net"})]
gone = api.artifact("net:v0")
refused = False
try:
    gone.delete()
except CommError:
    refused = True
gone.delete(delete_aliases=True)
renamed.delete()
report(**facts, chosen=chosen, unlinked=api.artifact_exists("shelf:latest"),
     kept=[renamed.description, renamed.tags], names=names, found=found, refused=refused,
     left=api.artifact_exists("net:v0"), deleted=api.artifact_collection_exists("plainer", "model"))
"""
    )
    assert reported == {
        "used": "w",
        "registered": "w",
        "link": True,
        "source": "plain:v0",
        "links": ["shelf:v0"],
        "chosen": "plain:v0",
        "unlinked": False,
        "kept": ["d", ["x"]],
        "names": ["net", "net2", "plainer", "shelf"],
        "found": ["net"],
        "refused": True,
        "left": False,
        "deleted": False,
    }


def test_references_and_configs_name_artifacts(sdk: Sdk) -> None:
    reported = sdk.run(
        MAKE
        + """
from datetime import timedelta
here = pathlib.Path("far.txt").absolute(); here.write_text("far")
artifact = Artifact("refs", "dataset"); artifact.add_reference(here.as_uri())
artifact.ttl = timedelta(days=3)
log(artifact, "refs")
with wandb.init(project="refs", config={"d": "wandb-artifact://local/refs/refs:v0"}) as run:
    pass
api = Api(overrides={"project": "refs"})
read = api.artifact("refs:v0")
down = pathlib.Path(read.download(root="fetched"))
read.metadata["more"] = 1; read.description = "later"; read.ttl = None; read.save()
read = api.artifact("refs:v0")
report(text=(down / "far.txt").read_text(), days=artifact.ttl.days, more=read.metadata,
     description=read.description, ttl=read.ttl,
     config=api.run(f"local/refs/{run.id}").config["d"]["id"] == read.id)
"""
    )
    assert reported == {
        "text": "far",
        "days": 3,
        "more": {"more": 1},
        "description": "later",
        "ttl": None,
        "config": True,
    }


def test_digests_by_xxh128_are_kept_and_checked(sdk: Sdk) -> None:
    reported = sdk.run(
        MAKE
        + """
made = log(make("fast", "content", digest_algorithm="XXH128"), "xxh")
again = log(make("fast", "content", digest_algorithm="XXH128"), "xxh")
third = log(make("fast", "other", digest_algorithm="XXH128"), "xxh")
log(make("slow", "content"), "xxh")
api = Api(overrides={"project": "xxh"})
read = api.artifact("fast:v0")
down = pathlib.Path(read.download(root="fast", skip_cache=True))
read.verify(root="fast")
import xxhash, base64
digest = base64.b64encode(xxhash.xxh128(b"content").digest()).decode()
entry = read.get_entry("f.txt")
report(text=(down / "f.txt").read_text(), versions=[made.version, again.version, third.version],
     algorithms=[str(api.artifact(name).digest_algorithm.value) for name in ("fast:v0", "slow:v0")],
     digest=entry.digest == digest, marked=entry.extra, whole=read.digest == made.digest)
"""
    )
    assert reported == {
        "text": "content",
        "versions": ["v0", "v0", "v1"],
        "algorithms": ["MANIFEST_XXH128", "MANIFEST_MD5"],
        "digest": True,
        "marked": {"alg": "XXH128"},
        "whole": True,
    }
    with Api(base_url=sdk.url, api_key=sdk.store.local_key) as ours:
        artifact = ours.artifact("local/xxh/fast:v0")
        folder = sdk.folder / "ours"
        assert artifact.download(folder).fetched == 1
        assert (folder / "f.txt").read_text() == "content"
        assert artifact.download(folder).fetched == 0
        (folder / "f.txt").write_text("changed")
        assert artifact.download(folder).fetched == 1
