"""The embedded W&B's data folder: a SQLite file, history segments, uploaded files, secrets.

    with Store.open("data") as store:
        store.accounts.ensure_entity("me")
        project, _ = store.projects.ensure("me", "demo")
        run, _ = store.runs.upsert(project, "run-1", RunChanges(config='{"lr": {"value": 0.1}}'))
        store.history.append(run, ['{"_step": 0, "loss": 1.5}'])
        store.finish(run)

A store may be used by several threads, and its folder by several processes.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from aiowandb_server.errors import DataFolderError
from aiowandb_server.store.accounts import LOCAL_USER, Accounts, digest_of
from aiowandb_server.store.alerts import Alerts
from aiowandb_server.store.artifacts import ArtifactTable
from aiowandb_server.store.charting import Charts
from aiowandb_server.store.collections import Collections
from aiowandb_server.store.compaction import Compaction
from aiowandb_server.store.console import Console
from aiowandb_server.store.database import Database
from aiowandb_server.store.deleting import finish_deleting
from aiowandb_server.store.disk import (
    Blobs,
    complete_file,
    make_private_folder,
    restrict_to_owner,
)
from aiowandb_server.store.files import FileTable
from aiowandb_server.store.gone_lines import finish_gone_lines
from aiowandb_server.store.history import History
from aiowandb_server.store.invites import Invites
from aiowandb_server.store.manifests import Manifests
from aiowandb_server.store.own_files import OWN_NAMES, check_own_files
from aiowandb_server.store.projects import ProjectTable
from aiowandb_server.store.reports import Reports
from aiowandb_server.store.runs import RunTable
from aiowandb_server.store.segments import SegmentFiles
from aiowandb_server.store.stream import RunStream
from aiowandb_server.store.sweeping import sweep
from aiowandb_server.store.sweeps import SweepTable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from aiowandb_server.store.records import RunRow

logger = logging.getLogger("aiowandb_server")
# How long the opening of a store may take for what a killed process has not finished.
_OPENING_S = 2.0
# Users may also have put keys of their own there.
_SECRET = re.compile(r"[0-9A-Za-z_.\-]{32,}")


class Store:
    """The contents of a data folder, by subject. Create it with `Store.open`."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        crash_after: float = 300.0,
    ) -> None:
        self.folder = folder
        self.clock = clock
        self._database = database
        self._before_close: list[Callable[[], None]] = []
        self._segments = SegmentFiles(folder / "segments")
        self.accounts = Accounts(database, clock)
        self.invites = Invites(database, clock)
        self.projects = ProjectTable(database, clock)
        self.runs = RunTable(database, clock, crash_after)
        self.compaction = Compaction(database, self._segments)
        self.history = History(database, self._segments, self.compaction)
        self.charts = Charts(database, self._segments, self.compaction)
        self.stream = RunStream(database, clock)
        self.blobs = Blobs(folder / "blobs")
        self.files = FileTable(database, self.blobs, clock)
        self.console = Console(database)
        self.alerts = Alerts(database, clock)
        self.reports = Reports(database, clock)
        self.sweeps = SweepTable(database, clock)
        self.collections = Collections(database, clock)
        self.artifacts = ArtifactTable(database, clock)
        self.manifests = Manifests(database, self.blobs, clock)
        self.local_key = self._secret("local-key")
        self.link_secret = self._secret("link-secret").encode()
        # Identifies this folder without revealing the secret.
        self.public_id = blake2b(self.link_secret, digest_size=5, person=b"store id").hexdigest()
        local = self.accounts.ensure_user(LOCAL_USER, is_admin=True)
        self.accounts.add_key(local.id, self.local_key, "made with the data folder")
        until = time.monotonic() + _OPENING_S
        finish_deleting(database, until)
        finish_gone_lines(database, until)
        sweep(folder, database)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], float] = time.time,
        crash_after: float = 300.0,
    ) -> Self:
        """Open the data folder, which is created if necessary. Raises DataFolderError.

        A running run without a heartbeat for `crash_after` seconds counts as crashed.
        """
        folder = Path(path)
        try:
            str(folder).encode()
        except UnicodeEncodeError as error:
            raise DataFolderError(f"the name of {str(folder)!r} is not valid Unicode") from error
        try:
            make_private_folder(folder, OWN_NAMES)
            check_own_files(folder)
            database = Database(folder / "store.sqlite")
        except OSError as error:
            raise DataFolderError(f"{folder} cannot be used as a data folder: {error}") from error
        try:
            return cls(folder, database, clock=clock, crash_after=crash_after)
        except OSError as error:
            database.close()
            raise DataFolderError(f"{folder} cannot be used as a data folder: {error}") from error
        except BaseException:
            database.close()
            raise

    def finish(self, run: RunRow, exit_code: int = 0) -> None:
        """End the run and compact its history, like the last request of the file stream."""
        self.stream.finish(run, exit_code)
        self.compaction.compact(run.id)

    def before_close(self, callback: Callable[[], None]) -> None:
        """Call this first when the store is closed: it ends what uses the store by itself."""
        self._before_close.append(callback)

    def close(self) -> None:
        while self._before_close:
            self._before_close.pop()()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _secret(self, name: str) -> str:
        """Forty hex digits in a file that only its owner can read, created on first use.

        A file without a secret (after a full disk, or if it was emptied) is replaced: with an
        empty `link-secret`, anyone could sign links.
        """
        path = self.folder / name
        # With the lock of the database, so that only one process creates the secret.
        with self._database.write() as connection:
            found = _read_secret(path)
            if _SECRET.fullmatch(found):
                restrict_to_owner(path)
                return found
            if path.exists():
                logger.warning("%s had no usable secret and has been replaced", path)
                connection.execute("DELETE FROM api_key WHERE digest = ?", (digest_of(found),))
            secret = secrets.token_hex(20)
            with complete_file(path) as temporary:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(secret + "\n")
        return secret


def _read_secret(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
