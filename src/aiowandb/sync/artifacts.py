"""`Artifact` and `Artifacts` without `await`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiowandb import api
from aiowandb.paths import ArtifactRef
from aiowandb.sync.files import Files
from aiowandb.sync.listing import Listed
from aiowandb.sync.runs import Run
from aiowandb.sync.wrapping import (
    Asked,
    Shared,
    Twin,
    blocking,
    each,
    giving,
    if_any,
    making,
)


class Artifact(Twin[api.Artifact]):
    """A version of an artifact.

    >>> artifact = api.artifact("entity/project/model:latest")
    >>> folder = artifact.download()
    """

    id = Shared[str]()
    name = Shared[str]()
    entity = Shared[str]()
    project = Shared[str]()
    type = Shared[str]()
    version = Shared[str]()
    aliases = Shared[list[str]]()
    tags = Shared[list[str]]()
    description = Shared[str | None]()
    metadata = Shared[dict[str, Any]]()
    digest = Shared[str]()
    size = Shared[int]()
    file_count = Shared[int]()
    state = Shared[str]()
    created_at = Shared[datetime | None]()
    updated_at = Shared[datetime | None]()
    source = Shared[ArtifactRef]()
    qualified_name = Shared[str]()
    source_qualified_name = Shared[str]()
    is_link = Shared[bool]()
    url = Shared[str]()

    files = making(api.Artifact.files, Files)
    manifest = Asked(api.Artifact.manifest)
    download = blocking(api.Artifact.download)

    logged_by = giving(api.Artifact.logged_by, if_any(Run))
    used_by = giving(api.Artifact.used_by, each(Run))


class Artifacts(Listed[api.Artifacts, Artifact]):
    """Artifacts of a run, or versions of one artifact. Nothing is sent until they are used.

    >>> for artifact in run.logged_artifacts():
    ...     print(artifact.name, artifact.type, artifact.size)
    """

    _kind = Artifact
