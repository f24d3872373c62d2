"""The query of how much there is of each run: rows, files and artifacts, a page of runs at a time.

It asks for counts, sizes and last values, and for nothing that has to be read to the end.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from aiowandb.wire.connection import Connection
from aiowandb.wire.graphql import Operation
from aiowandb.wire.history import HistorySource, ParquetHistory
from aiowandb.wire.lenient import Int64, as_integer
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import RunQuery, filters_text

# The sizes of so many files, and of so many artifacts, come with each run. Where there are more,
# their number is known and their size is extrapolated.
SIZES_PER_RUN = 50
# The tables whose rows come from histories.
_FROM_HISTORIES = frozenset({"history", "media", "histograms", "tables"})

_FILES = f"files(first: {SIZES_PER_RUN}) {{ edges {{ node {{ sizeBytes }} cursor }} }}"
_ARTIFACTS = f"""outputArtifacts(first: {SIZES_PER_RUN}) {{
  totalCount edges {{ node {{ id size fileCount }} }}
}}"""
_COUNTED_ARTIFACTS = "outputArtifacts(first: 1) { totalCount }"
_PARQUET = 'parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData }'


def _document(what: Collection[str]) -> str:
    sizes = " ".join(
        (
            _FILES if "files" in what else "",
            _ARTIFACTS if "artifacts" in what else _COUNTED_ARTIFACTS,
            _PARQUET if _FROM_HISTORIES.intersection(what) else "",
            # The last values are samples of how large texts are.
            "summaryMetrics" if "history" in what else "",
        )
    )
    return f"""
query RunSizes($entity: String!, $project: String!, $filters: JSONString, $order: String,
               $perPage: Int, $cursor: String) {{
  project(name: $project, entityName: $entity) {{
    runCount(filters: $filters) totalSweeps
    runs(filters: $filters, order: $order, first: $perPage, after: $cursor) {{
      edges {{
        node {{
          id name state createdAt heartbeatAt historyKeys
          historyLineCount eventsLineCount logLineCount fileCount {sizes}
        }}
        cursor
      }}
      pageInfo {{ hasNextPage }}
    }}
  }}
}}"""


class FileSize(msgspec.Struct, frozen=True, rename="camel", gc=False):
    size_bytes: int | str | None = None

    @property
    def size(self) -> int:
        return as_integer(self.size_bytes)


class ArtifactSize(msgspec.Struct, frozen=True, rename="camel", gc=False):
    id: str
    size: int | str | None = None
    file_count: Int64 | None = None


class SizedRun(RunRecord, kw_only=True, rename="camel"):
    """A run with how much there is of it. What was not asked for is None."""

    files: Connection[FileSize] | None = None
    output_artifacts: Connection[ArtifactSize] | None = None
    parquet_history: ParquetHistory | None = None

    def history_source(self) -> HistorySource:
        """Where its rows are, as the query of histories has it."""
        return HistorySource(
            history_keys=self.history_keys,
            history_line_count=self.history_line_count,
            parquet_history=self.parquet_history,
        )


class SizedRunsPage(msgspec.Struct, rename="camel"):
    """A page of a project's runs with their sizes, and how many runs there are."""

    runs: Connection[SizedRun]
    run_count: Int64 | None = None
    total_sweeps: Int64 | None = None

    def located(self, entity: str, project: str) -> Connection[SizedRun]:
        """The page, with the project of its runs."""
        for run in self.runs.nodes:
            run.entity, run.project = entity, project
        return msgspec.structs.replace(self.runs, total_count=self.run_count)


def list_run_sizes(
    entity: str, project: str, query: RunQuery, what: Collection[str], cursor: str | None
) -> Operation[SizedRunsPage | None]:
    """A page of a project's runs, with the sizes of what is to be exported of them."""
    variables = {
        "entity": entity,
        "project": project,
        "filters": filters_text(query.filters),
        "order": query.order,
        "perPage": query.per_page,
        "cursor": cursor,
    }
    return Operation("RunSizes", _document(what), variables, SizedRunsPage, at=("project?",))
