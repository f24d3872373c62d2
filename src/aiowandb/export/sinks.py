"""Where batches end. Sinks block: worker threads call them, one call at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from aiowandb.errors import ExportError
from aiowandb.export.folders.base import plain_errors


@runtime_checkable
class Sink(Protocol):
    """Takes record batches of one schema, in order."""

    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...


# Makes the sink that writes one format into a file.
OpenSink = Callable[[Any, pa.Schema], Sink]


class SinkFile:
    """A file under way, written by a sink."""

    def __init__(self, path: Path, open_sink: OpenSink, schema: pa.Schema) -> None:
        self.path = path
        with plain_errors(path):
            self._file = pa.output_stream(str(path), buffer_size=1 << 20)
            self._sink = open_sink(self._file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        with plain_errors(self.path):
            self._sink.write(batch)

    def finish(self) -> None:
        """Complete the file."""
        with plain_errors(self.path):
            try:
                self._sink.close()
            finally:
                self._file.close()

    def close(self) -> None:
        """Leave nothing of it that was not moved elsewhere."""
        if not self._file.closed:
            with suppress(ExportError):
                self.finish()
        self.path.unlink(missing_ok=True)
