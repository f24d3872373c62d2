"""The original records of exported runs and artifacts, from which `restore` recreates them.

The tables for users have one column of one kind per key, which cannot keep everything: W&B's own
part of a config, None, or integers in one run and floats in another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.export.folders.base import STATE_DIR, Folder, state_decoder
from aiowandb.export.formats import write_file
from aiowandb.export.manifest import put_text, read_whole
from aiowandb.export.parquet import ParquetSink, bounded_rows
from aiowandb.export.spool import PackedBatches
from aiowandb.wire import lenient
from aiowandb.wire.artifact_record import ArtifactRecord, number_of
from aiowandb.wire.manifest import Manifest, ManifestEntry
from aiowandb.wire.record import RunRecord

# Parquet, without the suffix: `**/*.parquet` must match only the tables for users.
ORIGINALS_FILE = f"{STATE_DIR}/originals"
ARTIFACTS_FOLDER = f"{STATE_DIR}/artifacts"

_RUN = "run_id"
_COLUMNS = (_RUN, "config", "summary", "description")
_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS])


class OriginalRuns:
    """The texts of runs, added page by page. Calls take a while: make them in a thread."""

    def __init__(self) -> None:
        self._pages = PackedBatches()

    def add(self, runs: Sequence[RunRecord]) -> None:
        """Add the records of runs."""
        rows = [
            (run.id, run.config_json or None, run.summary_json or None, run.description)
            for run in runs
        ]
        columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(len(_COLUMNS))]
        self._pages.add(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))

    def add_deleted(self, runs: Collection[str], folder: Folder) -> None:
        """Add runs that were deleted at W&B, from the last export."""
        if not runs or folder.size(ORIGINALS_FILE) is None:
            return
        try:
            for batch in bounded_rows(folder, ORIGINALS_FILE, list(_COLUMNS)):
                is_wanted = pc.is_in(batch[_RUN], pa.array(runs, pa.string()))
                self._pages.add(batch.filter(is_wanted))
        except (pa.ArrowException, OSError):
            return  # it is damaged, and will be written again

    def write(self, folder: Folder) -> None:
        """Write all of them to the folder of the export."""
        write_file(self._pages, _SCHEMA, ParquetSink, folder, ORIGINALS_FILE)


class OriginalArtifact(msgspec.Struct, frozen=True, kw_only=True):
    """An exported version: its fields, its run, and its manifest.

    Its files are in `artifacts/<name>-v<version>`, including those that the manifest refers to in
    other artifacts. If an exported version that was deleted or renamed since has this folder, they
    are in another `place`.
    """

    id: str
    run: str
    name: str
    type: str
    version: int
    digest: str
    aliases: Sequence[str] = ()
    tags: Sequence[str] = ()
    description: str | None = None
    metadata: str | None = None
    created_at: datetime | None = None
    entries: Mapping[str, ManifestEntry] = {}
    place: str = ""

    @classmethod
    def of(
        cls, record: ArtifactRecord, manifest: Manifest, run: str, folder: str
    ) -> OriginalArtifact:
        return cls(
            id=record.id,
            run=run,
            name=record.source.collection,
            type=record.type,
            version=number_of(record),
            digest=record.digest,
            aliases=record.aliases,
            tags=record.tags,
            description=record.description,
            metadata=_metadata(record),
            created_at=record.created_at,
            entries=manifest.entries,
            place="" if folder == folders_of(record)[0] else folder,
        )

    @property
    def folder(self) -> str:
        """The folder of its files, within the folder of all artifacts."""
        return self.place or f"{self.name}-v{self.version}"

    def changed_to(self, record: ArtifactRecord) -> OriginalArtifact:
        """The same version with what people may have changed of it since."""
        return msgspec.structs.replace(
            self,
            type=record.type,
            aliases=record.aliases,
            tags=record.tags,
            description=record.description,
            metadata=_metadata(record),
        )

    def differences(self, record: ArtifactRecord) -> list[str]:
        """The names of what people have changed of it since."""
        # `latest` moves on by itself whenever a version is logged.
        aliases = set(self.aliases).symmetric_difference(record.aliases) - {"latest"}
        found = {
            "type": self.type != record.type,
            "aliases": bool(aliases),
            "tags": set(self.tags) != set(record.tags),
            "description": (self.description or None) != (record.description or None),
            "metadata": _parsed(self.metadata) != _parsed(_metadata(record)),
        }
        return [name for name, differs in found.items() if differs]

    def write(self, folder: Folder) -> None:
        """Write it to the folder of the export."""
        put_text(folder, artifact_path(self.folder), msgspec.json.encode(self))


def artifact_path(folder: str) -> str:
    """The file that an artifact's version is written to, by the folder of its files."""
    return f"{ARTIFACTS_FOLDER}/{folder}.json"


def folders_of(record: ArtifactRecord) -> tuple[str, str]:
    """The folder of a version's files, and the one for them if another version has the first."""
    usual = f"{record.source.collection}-v{number_of(record)}"
    return usual, f"{usual}~{blake2b(record.id.encode(), digest_size=4).hexdigest()}"


def described_folder(record: ArtifactRecord, described: Collection[str]) -> str | None:
    """Which of these folders has the version, by its name."""
    usual, other = folders_of(record)
    return next((name for name in (other, usual) if name in described), None)


def new_folder(record: ArtifactRecord, folder: Folder) -> str:
    """The folder for a version that is to be downloaded. Blocks."""
    usual, other = folders_of(record)
    text = read_whole(folder, artifact_path(usual))
    try:
        is_free = text is None or read_artifact(text).id == record.id
    except msgspec.MsgspecError:
        is_free = True  # it is damaged, and written again
    return usual if is_free else other


def facts_of(record: ArtifactRecord) -> str:
    """A digest of what people may change of a version."""
    metadata = _parsed(_metadata(record))
    said = [record.type, sorted(record.aliases), sorted(record.tags), record.description or None]
    text = lenient.dumps([*said, metadata], sort_keys=True).encode(errors="surrogatepass")
    return blake2b(text, digest_size=8).hexdigest()


def _metadata(record: ArtifactRecord) -> str | None:
    return lenient.dumps(record.metadata) if record.metadata else None


def _parsed(metadata: str | None) -> object:
    # NaN is not equal to itself.
    return lenient.dumps(lenient.loads(metadata), sort_keys=True) if metadata else None


# What was written of an artifact.
read_artifact: Callable[[bytes], OriginalArtifact] = state_decoder(
    msgspec.json.Decoder(OriginalArtifact).decode
)
