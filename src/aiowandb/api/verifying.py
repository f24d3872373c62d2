"""`verify()`: compares the folder of an export with its manifest, and with W&B."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiowandb.api.client import AsyncApi
from aiowandb.api.exporting import EXPORTED, FILESYSTEM, FOLDER
from aiowandb.api.run_pages import RUNS_PER_PAGE, all_runs
from aiowandb.arguments import FLAG, FUNCTION, PATH, Check, Unfit, checks, either, optional
from aiowandb.concurrency.threads import import_in_thread, run_sync
from aiowandb.config.hosts import names_of
from aiowandb.errors import UsageError
from aiowandb.net import Session
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import RunQuery

if TYPE_CHECKING:
    from aiowandb.export.journal import ExportIdentity
    from aiowandb.verification import Verification, VerifyProgress
    from aiowandb.verification.contents import Contents

_NOT_COMPARED = "The runs were not compared with W&B, because"


def _async_client(value: Any) -> AsyncApi:
    if isinstance(value, AsyncApi):
        return value
    raise Unfit(": `aiowandb.sync.verify` takes an Api" if hasattr(value, "settings") else "")


_FOLDER = either(FOLDER, PATH, what="the folder of an export")


@checks(
    folder=_FOLDER,
    api=optional(Check("an AsyncApi", _async_client)),
    offline=FLAG,
    filesystem=optional(FILESYSTEM),
    on_progress=optional(FUNCTION),
)
async def verify(
    folder: str | Path,
    *,
    api: AsyncApi | None = None,
    offline: bool = False,
    filesystem: Any = None,
    on_progress: Callable[[VerifyProgress], object] | None = None,
) -> Verification:
    """Verify the export in a folder, and find out which runs may be deleted at W&B.

    Every file is compared with the manifest that the export has made: its size and SHA-256.
    Tables are opened, and the rows of each run counted. Then the runs are compared with those at
    W&B: rows, system metrics, config, summary, sizes and checksums of files, artifacts. That
    takes few requests, and no downloads. `offline` leaves it out, and so does the lack of an API
    key for the host of the export; then no run may be deleted.

    Nothing is written. The folder may be a URL, or a path in a `filesystem`, as for an export.
    `api` is the client to use, for example one of the embedded W&B.

    >>> found = await verify("backup")
    >>> found.is_complete, found.may_be_deleted
    """
    if offline and api is not None:
        raise UsageError("offline sends nothing: leave api out.")
    await import_in_thread("aiowandb.verification")
    from aiowandb.export.folders.locate import folder_at
    from aiowandb.verification import verify_folder

    if offline:
        opened = await run_sync(folder_at, folder, filesystem)
        return await verify_folder(opened, None, on_progress)
    client = api or AsyncApi()
    with client._session.limited("verify()"):
        opened = await run_sync(folder_at, folder, filesystem)
        async with AsyncExitStack() as stack:
            source = _Source(client, stack, is_given=api is not None)
            found = await verify_folder(opened, source.runs, on_progress)
    if source.note:
        found.notes.append(source.note)
    return found


class _Source:
    """The W&B that the export is of."""

    def __init__(self, api: AsyncApi, stack: AsyncExitStack, *, is_given: bool) -> None:
        self._api = api
        self._stack = stack
        self._is_given = is_given
        self.note = ""

    async def runs(
        self, contents: Contents
    ) -> tuple[Session, AsyncGenerator[list[RunRecord]]] | None:
        """The runs of the export's project as they are now; None if they cannot be listed."""
        identity = contents.identity
        if identity is None:
            return None
        if not self._is_given and not await self._enter(identity.host):
            return None
        session = self._api._session
        if identity.host not in names_of(session.host):
            raise UsageError(
                f"The export is of {identity.host}, and this client is one of {session.host}:"
                " pass a client of the other, or verify offline."
            )
        return session, await self._stack.enter_async_context(aclosing(_list(session, identity)))

    async def _enter(self, host: str) -> bool:
        """Use the client of this computer's settings, if it is one of that host with a key."""
        if host not in names_of(self._api._session.host):
            # Not with the key of this host: anybody can write a host into a journal.
            self.note = f"{_NOT_COMPARED} it is of {host}: pass a client of that host."
            return False
        if self._api.settings.credentials is None:
            self.note = f"{_NOT_COMPARED} there is no API key for {host}."
            return False
        await self._stack.enter_async_context(self._api)
        return True


def _list(session: Session, identity: ExportIdentity) -> AsyncGenerator[list[RunRecord]]:
    entity, _, project = identity.project.partition("/")
    query = RunQuery(identity.filters, identity.order, RUNS_PER_PAGE, EXPORTED)

    async def where() -> tuple[str, str]:
        return entity, project

    return all_runs(session, where, query)
