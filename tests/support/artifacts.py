"""Artifacts added to a store as a client of W&B would log them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import xxhash

from aiowandb_server import Store
from aiowandb_server.store.artifact_records import NewVersion
from aiowandb_server.store.records import RunRow

_AS_THE_SDK_WRITES_THEM = {
    "version": 1,
    "storagePolicy": "wandb-storage-policy-v1",
    "storagePolicyConfig": {"storageLayout": "V2"},
}


def log_artifact(
    store: Store,
    run: RunRow,
    name: str,
    files: Mapping[str, bytes],
    *,
    kind: str = "dataset",
    references: Mapping[str, str] | None = None,
    xxh128: bool = False,
    **said: Any,
) -> str:
    """Log a version, and give the id of it as it is written in references."""
    project = store.projects.get(run.entity, run.project)
    entity = store.accounts.entity(run.entity)
    assert project
    assert entity
    collection = store.collections.ensure(project, name, kind)
    contents: dict[str, Any] = {}
    for file, data in files.items():
        found = xxhash.xxh128(data) if xxh128 else hashlib.md5(data)
        digest = base64.b64encode(found.digest()).decode()
        store.manifests.add_content(entity.id, digest, store.blobs.add(data), xxh128=xxh128)
        contents[file] = {"digest": digest, "size": len(data)}
        if xxh128:
            contents[file]["extra"] = {"alg": "XXH128"}
    for file, target in (references or {}).items():
        contents[file] = {"digest": target, "ref": target, "size": 0}
    text = json.dumps(_AS_THE_SDK_WRITES_THEM | {"contents": contents}, sort_keys=True).encode()
    if xxh128:
        said["digest_algorithm"] = "MANIFEST_XXH128"
    new = NewVersion(digest=hashlib.md5(text).hexdigest(), run_id=run.id, **said)
    made = store.artifacts.create(collection, new)
    manifest = store.manifests.announce(
        made.id, kind="FULL", name="wandb_manifest.json", digest="", base_id=None
    )
    store.manifests.upload(manifest, store.blobs.add(text))
    size, count = store.manifests.settle(made, entity.id)
    store.artifacts.commit(made.id, size=size, file_count=count)
    return f"Artifact:{made.id}".encode().hex()
