"""Delta Lake: the parts are the table's data files, and each change is one transaction.

Files that a transaction removes from the table stay in the folder for readers of older
versions, for as long as Delta retains them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import msgspec
import pyarrow as pa

from aiowandb.errors import ExportError, extra_needed
from aiowandb.export.schema import RowSchema
from aiowandb.export.sinks.table import plain_type
from aiowandb.export.stored import Part
from aiowandb.redaction import hide_secrets, redacted

with extra_needed("delta", "Delta Lake"):
    from deltalake import DeltaTable, Schema, write_deltalake
    from deltalake.exceptions import DeltaError
    from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions


class Delta:
    """A Delta table in a folder, given by path or URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._uri, self._options = _parsed(url)

    def sizes(self) -> dict[str, int]:
        """The files that the table lists, and the sizes that it has recorded."""
        with self._plain_errors():
            if not DeltaTable.is_deltatable(self._uri, self._options):
                return {}
            table = DeltaTable(self._uri, storage_options=self._options)
            actions = pa.table(table.get_add_actions(flatten=True))
            sizes = actions.select(["path", "size_bytes"]).to_pylist()
            return {row["path"].rpartition("/")[2]: row["size_bytes"] for row in sizes}

    def publish_as(self, schema: RowSchema, parts: Sequence[Part]) -> None:
        """Make the table consist of these parts."""
        columns = Schema.from_arrow(_delta_schema(schema.arrow))
        with self._plain_errors():
            if not DeltaTable.is_deltatable(self._uri, self._options):
                create_table_with_add_actions(
                    self._uri,
                    columns,
                    list(map(_add, parts)),
                    "ignore",
                    storage_options=self._options,
                )
                return
            table = DeltaTable(self._uri, storage_options=self._options)
            present = {uri.rpartition("/")[2] for uri in table.file_uris()}
            adds: list[AddAction | RemoveAction] = [
                _add(part) for part in parts if part.file not in present
            ]
            gone = present.difference(part.file for part in parts)
            if table.schema() != columns:
                # All parts were written with the new columns, so all are new to the table.
                table.create_write_transaction(adds, "overwrite", columns)
            elif adds or gone:
                table.create_write_transaction([*adds, *map(_remove, gone)], "append", columns)
            table.update_incremental()
            table.vacuum(dry_run=False)

    def write(self, rows: pa.Table) -> None:
        """Replace the rows of the table, unless it has just these."""
        rows = rows.cast(_delta_schema(rows.schema))
        with self._plain_errors():
            if self._has(rows):
                return
            write_deltalake(
                self._uri,
                rows,
                mode="overwrite",
                schema_mode="overwrite",
                storage_options=self._options,
            )

    def _has(self, rows: pa.Table) -> bool:
        """Whether the table has these rows; not if it is not there, or lacks some of its files."""
        try:
            table = DeltaTable(self._uri, storage_options=self._options)
            return bool(rows.equals(table.to_pyarrow_table()))
        except (DeltaError, OSError, pa.ArrowException):
            return False

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except (DeltaError, OSError) as error:
            reason = hide_secrets(str(error), self._url)
            raise ExportError(
                f"Cannot write the Delta table {redacted(self._uri)}: {reason}"
            ) from None


def _add(part: Part) -> AddAction:
    statistics = msgspec.json.encode({"numRecords": part.rows}).decode()
    return AddAction(part.file, part.size, {}, _now(), True, statistics)


def _remove(file: str) -> RemoveAction:
    return RemoveAction(file, True, _now())


def _now() -> int:
    return int(time.time() * 1000)


def _delta_schema(schema: pa.Schema) -> pa.Schema:
    """The schema in types that Delta has: it has no dictionaries, and no columns of nulls only.

    Nor can it have columns whose names differ only in case.
    """
    found: dict[str, str] = {}
    for name in schema.names:
        if (other := found.setdefault(name.lower(), name)) != name:
            raise ExportError(
                f"A Delta table cannot have both {other} and {name}: its column names ignore case."
                " Exclude one of the keys, or export into another format."
            )
    return pa.schema([(field.name, plain_type(field.type)) for field in schema])


def _parsed(url: str) -> tuple[str, dict[str, str] | None]:
    """The URL in the form that Delta accepts, and the options that were part of it."""
    parts = urlsplit(url)
    if parts.scheme in ("abfs", "abfss") and parts.password:
        return _parsed_azure(parts)
    if parts.scheme != "s3":
        return url, None
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    scheme = query.get("scheme", "https")
    options = {
        "AWS_ACCESS_KEY_ID": parts.username,
        "AWS_SECRET_ACCESS_KEY": parts.password,
        "AWS_REGION": query.get("region"),
        "AWS_ENDPOINT_URL": f"{scheme}://{query['endpoint_override']}"
        if "endpoint_override" in query
        else None,
        "AWS_ALLOW_HTTP": "true" if scheme == "http" else None,
    }
    place = f"s3://{parts.hostname}{parts.path}"
    return place, {name: value for name, value in options.items() if value}


def _parsed_azure(parts: SplitResult) -> tuple[str, dict[str, str]]:
    """The same for Azure, in the forms that pyarrow accepts: the password is the account key."""
    key = unquote(parts.password or "")
    host, path = parts.hostname or "", parts.path
    account, _, service = host.partition(".")
    if service.startswith("dfs."):  # container:key@account.dfs.core.windows.net/path
        container = parts.username or ""
    elif service.startswith("blob."):  # :key@account.blob.core.windows.net/container/path
        container, _, path = path.lstrip("/").partition("/")
    else:  # account:key@container/path
        account, container = parts.username or "", host
    options = {"AZURE_STORAGE_ACCOUNT_NAME": account, "AZURE_STORAGE_ACCOUNT_KEY": key}
    return f"{parts.scheme}://{container}/{path.lstrip('/')}", options
