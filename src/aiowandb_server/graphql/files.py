"""Files of runs: list, upload, delete; and the type `File`, which artifacts have too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiowandb_server.graphql.resolving import Resolvers, connection, page_size
from aiowandb_server.graphql.runs import require_run
from aiowandb_server.graphql.scalars import encode_id, row_id
from aiowandb_server.store.files import check_name

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.links import Links
    from aiowandb_server.store.artifact_records import ArtifactRow
    from aiowandb_server.store.files import RunFile
    from aiowandb_server.store.records import RunRow

resolvers = Resolvers()


@dataclass(frozen=True, slots=True)
class FileView:
    """A file as GraphQL returns it. Its content is at `path` on this server, or at `reference`.

    Links to a file of a run are valid for this file (`file_id`) and for uploads to this run
    (`run_id`), not for later ones with the same name.
    """

    id: str
    name: str
    path: str
    size_bytes: int = 0
    mimetype: str | None = None
    md5: str | None = None
    updated_at: int | None = None
    reference: str | None = None
    wants_upload: bool = True
    artifact: ArtifactRow | None = None
    file_id: int | None = None
    run_id: int | None = None
    digest: str | None = None

    def download_link(self, links: Links) -> str:
        return links.download(self.path, self.file_id)

    def upload_link(self, links: Links) -> str:
        return links.upload(self.path, self.run_id)


def run_file_path(run: RunRow, name: str) -> str:
    return f"/files/{run.entity}/{run.project}/{run.name}/{name}"


@resolvers("Run", "fileCount")
def file_count(run: RunRow, context: Context) -> int:
    return context.store.files.count(run)


@resolvers("Run", "files")
def files(
    run: RunRow,
    context: Context,
    names: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
    pattern: str | None = None,
) -> Any:
    page = context.store.files.page(
        run, names=names or (), pattern=pattern, first=page_size(first), after=after
    )
    return connection(
        [_view(run, file) for file in page.items],
        page.cursors,
        has_next=page.has_next,
        totalCount=lambda: context.store.files.count(run),
    )


@resolvers("File", "url")
def url(file: FileView, context: Context, upload: bool | None = None) -> str:
    if file.reference is not None:
        return file.reference
    return file.upload_link(context.links) if upload else file.download_link(context.links)


@resolvers("File", "directUrl")
def direct_url(file: FileView, context: Context) -> str:
    if file.reference is not None:
        return file.reference
    # The SDK treats a file whose two links are equal as a reference to another place.
    return file.download_link(context.links) + "&direct=true"


@resolvers("File", "uploadUrl")
def upload_url(file: FileView, context: Context) -> str | None:
    return file.upload_link(context.links) if file.wants_upload else None


@resolvers.mutation("createRunFiles")
def create_run_files(context: Context, upload: dict[str, Any]) -> dict[str, Any]:
    run = require_run(
        context, upload["runName"], upload.get("projectName"), upload.get("entityName")
    )
    for name in upload["files"]:
        check_name(name)
    return {
        "runID": encode_id("Run", run.id),
        "uploadHeaders": [],
        "files": [
            FileView("", name, run_file_path(run, name), run_id=run.id) for name in upload["files"]
        ],
    }


@resolvers.mutation("markRunFilesUploaded")
def mark_run_files_uploaded(context: Context, upload: dict[str, Any]) -> dict[str, Any]:
    run = require_run(
        context, upload["runName"], upload.get("projectName"), upload.get("entityName")
    )
    return {"success": all(context.store.files.get(run, name) for name in upload["files"])}


@resolvers.mutation("deleteFiles")
def delete_files(context: Context, deletion: dict[str, Any]) -> dict[str, Any]:
    # What does not exist is deleted already, and so is, for all that the viewer can tell, what they
    # may not see.
    file_ids = [row_id("File", file) for file in deletion["files"]]
    context.store.files.delete([file for file in file_ids if _may_see_file(context, file)])
    return {"success": True}


def _may_see_file(context: Context, file_id: int) -> bool:
    file = context.store.files.by_id(file_id)
    run = context.store.runs.by_id(file.run_id) if file else None
    return run is not None and context.may_see(run.entity)


def _view(run: RunRow, file: RunFile) -> FileView:
    return FileView(
        encode_id("File", file.id),
        file.name,
        run_file_path(run, file.name),
        file.size,
        file.mimetype,
        file.md5,
        file.updated_at,
        file_id=file.id,
        run_id=run.id,
    )


resolvers.fields(
    "File",
    displayName=lambda file: file.name,
    digest=lambda file: file.digest or file.md5,
    storagePath=lambda file: file.path.removeprefix("/"),
    uploadHeaders=lambda _: [],
)
