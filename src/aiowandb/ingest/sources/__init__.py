"""Sources other than W&B servers: files of wandb, and the stores of other trackers.

Each is imported when it is used, with the packages that it needs.
"""

from __future__ import annotations

from pathlib import Path

from aiowandb.ingest.source import Source


def open_source(path: str | Path) -> Source:
    """The source for this path, detected by its files. Blocks."""
    from aiowandb.ingest.sources.mlflow import MlflowSource, is_store
    from aiowandb.ingest.sources.offline import SUFFIX, OfflineSource, logs_in
    from aiowandb.ingest.sources.tensorboard import TensorBoardSource, folders_in
    from aiowandb.ingest.tables import TableSource

    place = Path(path)
    if "://" in str(path) or is_store(place):
        return MlflowSource(path)
    if place.suffix == SUFFIX or (place.is_dir() and logs_in(place)):
        return OfflineSource(place)
    if folders_in(place):
        return TensorBoardSource(place)
    return TableSource(place)
