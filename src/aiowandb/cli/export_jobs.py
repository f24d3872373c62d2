"""What `aiowandb export` exports, from where and to where: by its options."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aiowandb.choices import Format, Layout, Nan, OnDeleted, Split, What
from aiowandb.cli.options import combine_filters, connect, parse_filter
from aiowandb.paths import is_project_pattern

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi


class ExportJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options of an export, under their names in a job file."""

    projects: tuple[str, ...]
    target: str
    include_projects: tuple[str, ...] = ()
    exclude_projects: tuple[str, ...] = ()
    base_url: str | None = None
    local: str | None = None
    filter: str = ""
    order: str = "-created_at"
    runs: tuple[str, ...] = ()
    since: datetime | None = None
    format: Format = "parquet"
    what: tuple[What, ...] = ()
    keys: tuple[str, ...] = ()
    all_keys: bool = False
    exclude: tuple[str, ...] = ()
    min_step: int | None = None
    max_step: int | None = None
    samples: int | None = None
    layout: Layout = "wide"
    split: Split | None = None
    safe_csv: bool = False
    on_deleted: OnDeleted = "keep"
    nan: Nan | None = None
    overwrite: bool = False
    repair: bool = False

    @property
    def is_of_many(self) -> bool:
        """Whether each project gets a folder of its own in the target."""
        return (
            len(self.projects) != 1
            or is_project_pattern(self.projects[0])
            or bool(self.include_projects or self.exclude_projects)
        )

    def connect(self, *, reports_waits: bool) -> AsyncApi:
        """The client for it."""
        local = Path(self.local) if self.local is not None else None
        return connect(self.base_url, local, reports_waits=reports_waits)

    def filters(self) -> Mapping[str, Any]:
        """Which runs are exported."""
        return combine_filters(parse_filter(self.filter), self.since, self.runs)

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Runs.plan_export`, except for the target."""
        return {
            "format": self.format,
            "what": self.what or None,
            "layout": self.layout,
            "split": self.split,
            "keys": self.keys or None,
            "any_key": not self.all_keys,
            "exclude": self.exclude,
            "min_step": self.min_step,
            "max_step": self.max_step,
            "samples": self.samples,
            "safe_csv": self.safe_csv,
            "on_deleted": self.on_deleted,
            "nan": self.nan,
            "overwrite": self.overwrite,
        }
