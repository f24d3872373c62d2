"""The attributes of runs, sweeps, artifacts, files and projects, for both clients.

The public classes do not copy the records that W&B sent: they wrap a record, and forward
attributes to it. The synchronous classes wrap an async object in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NoReturn,
    Self,
    TypeVar,
    get_args,
    overload,
)

from aiowandb.arguments import Check, FixedAttributes, check_writable
from aiowandb.errors import UsageError
from aiowandb.paths import ArtifactRef, RunRef
from aiowandb.wire.record import HistoryKeys, User

A = TypeVar("A")
T = TypeVar("T")


class Holder(FixedAttributes, Generic[A]):
    """Wraps another object, to which attributes are forwarded."""

    def __init__(self, inner: A) -> None:
        self._inner = inner

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            f"{type(self).__name__} cannot be sent to another process, because it needs its"
            " connection: send its path, and create an API client there."
        )


class RecordHolder(Holder[A]):
    """An object at W&B; `record` is what W&B sent about it."""

    # The attributes that users can set, and the checks of their values.
    _writable: ClassVar[Mapping[str, Check]] = {}

    @property
    def record(self) -> A:
        """The msgspec struct with everything that W&B sent."""
        return self._inner

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self._inner == other._inner

    def __hash__(self) -> int:
        return hash(self._inner)

    def __repr__(self) -> str:
        kind = type(self._inner).__name__
        return repr(self._inner).replace(kind, type(self).__name__, 1)

    if not TYPE_CHECKING:  # hidden from type checkers, which would accept any name then

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_"):
                check_writable(type(self), name, self._writable)
                value = self._writable[name](name, value)
            object.__setattr__(self, name, value)


class Forwarded(Generic[T]):
    """An attribute that is read from and written to the inner object."""

    def __init__(self, doc: str | None = None) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        inner = [kind for base in vars(owner).get("__orig_bases__", ()) for kind in get_args(base)]
        if inner and self.__doc__ is None:
            self.__doc__ = getattr(inner[0], name).__doc__

    @overload
    def __get__(self, holder: None, owner: type) -> Self: ...

    @overload
    def __get__(self, holder: object, owner: type) -> T: ...

    def __get__(self, holder: Any, owner: type) -> Self | T:
        if holder is None:
            return self
        value: T = getattr(holder._inner, self._name)
        return value

    def __set__(self, holder: Any, value: T) -> None:
        setattr(holder._inner, self._name, value)


class RunFields:
    """The attributes of a run."""

    id = Forwarded[str]("The id in the run's URL.")
    storage_id = Forwarded[str]("W&B's internal id.")
    entity = Forwarded[str]("The user or team that owns the run.")
    project = Forwarded[str]("The project of the run.")
    ref = Forwarded[RunRef]()
    path = Forwarded[list[str]]("Entity, project and id; `api.run()` takes it.")
    name = Forwarded[str | None]("The display name.")
    display_name = Forwarded[str | None]("The same as `name`.")
    state = Forwarded[str | None]("`running`, `finished`, `failed`, `crashed`, `killed`.")
    tags = Forwarded[list[str]]("The tags. Changes are sent by `update()`.")
    group = Forwarded[str | None]("The group of the run.")
    job_type = Forwarded[str | None]("The job type within the group.")
    commit = Forwarded[str | None]("The git commit of the code.")
    notes = Forwarded[str | None]("The notes. Changes are sent by `update()`.")
    description = Forwarded[str | None]()
    read_only = Forwarded[bool | None]()
    created_at = Forwarded[datetime | None]("When it was created, in UTC.")
    heartbeat_at = Forwarded[datetime | None]("When the run last reported to W&B, in UTC.")
    user = Forwarded[User | None]("The user who created the run.")
    username = Forwarded[str | None]("The name of the user who created the run.")
    sweep_name = Forwarded[str | None]("The id of the sweep of the run, or None.")
    config = Forwarded[dict[str, Any]]("The config. Changes are sent by `update()`.")
    raw_config = Forwarded[dict[str, Any]]("The config as W&B stores it, including internal keys.")
    rawconfig = Forwarded[dict[str, Any]](
        "The config including W&B's internal keys, with plain values."
    )
    json_config = Forwarded[str]("The config as JSON text, exactly as stored.")
    system_metrics = Forwarded[dict[str, Any]]("The latest system metrics.")
    summary_metrics = Forwarded[dict[str, Any]]("The summary as a plain dict.")
    history_keys = Forwarded[HistoryKeys | None]("The keys of the history, with their types.")
    history_line_count = Forwarded[int | None]("The number of rows in the history.")
    last_step = Forwarded[int]("The last step of the history, or -1 if it is empty.")
    lastHistoryStep = Forwarded[int]("The same as `last_step`.")  # noqa: N815
    createdAt = Forwarded[datetime | None]("The same as `created_at`.")  # noqa: N815
    heartbeatAt = Forwarded[datetime | None]("The same as `heartbeat_at`.")  # noqa: N815


class SweepFields:
    """The attributes of a sweep."""

    id = Forwarded[str]("The id in the sweep's URL.")
    storage_id = Forwarded[str]("W&B's internal id.")
    entity = Forwarded[str]()
    project = Forwarded[str]()
    path = Forwarded[list[str]]("Entity, project and id; `api.sweep()` takes it.")
    name = Forwarded[str]("The display name, or the id if it has none.")
    display_name = Forwarded[str | None]()
    method = Forwarded[str | None]("`grid`, `random` or `bayes`.")
    state = Forwarded[str | None]("`RUNNING`, `FINISHED`, `STOPPED`, `CANCELED` or the like.")
    description = Forwarded[str | None]()
    best_loss = Forwarded[float | None]()
    config = Forwarded[dict[str, Any]]("The configuration, decoded.")
    config_text = Forwarded[str]("The configuration in YAML.")
    created_at = Forwarded[datetime | None]()
    updated_at = Forwarded[datetime | None]()
    run_count = Forwarded[int | None]("The number of runs so far.")
    expected_run_count = Forwarded[int | None]()
    order = Forwarded[str | None]("The sort order with the best run first, if there is a metric.")


class ArtifactFields:
    """The attributes of a version of an artifact."""

    id = Forwarded[str]()
    name = Forwarded[str]("The name with its version.")
    entity = Forwarded[str]()
    project = Forwarded[str]()
    type = Forwarded[str]("The type, like `model`.")
    version = Forwarded[str]("The version, like `v3`.")
    aliases = Forwarded[list[str]]()
    tags = Forwarded[list[str]]()
    description = Forwarded[str | None]()
    metadata = Forwarded[dict[str, Any]]("The metadata that was logged with it.")
    digest = Forwarded[str]("The checksum of the manifest.")
    size = Forwarded[int]("The total size of the files in bytes.")
    file_count = Forwarded[int]()
    state = Forwarded[str]()
    created_at = Forwarded[datetime | None]()
    updated_at = Forwarded[datetime | None]()
    source = Forwarded[ArtifactRef]("The artifact version that was logged originally.")
    qualified_name = Forwarded[str]("Entity, project and name; `api.artifact()` takes it.")
    source_qualified_name = Forwarded[str]("Entity, project and name of the original.")
    is_link = Forwarded[bool]("Whether this is a link in another collection.")


class FileFields:
    """The attributes of a file."""

    id = Forwarded[str]()
    name = Forwarded[str]("The name, including its folders.")
    url = Forwarded[str | None]("A download URL that is valid for a limited time.")
    direct_url = Forwarded[str | None]()
    size = Forwarded[int]("The size in bytes.")
    md5 = Forwarded[str | None]("The MD5 checksum in base64.")
    mimetype = Forwarded[str | None]()
    updated_at = Forwarded[datetime | None]()


class ProjectFields:
    """The attributes of a project."""

    id = Forwarded[str]()
    name = Forwarded[str]()
    entity = Forwarded[str]()
    path = Forwarded[list[str]]("Entity and name.")
    created_at = Forwarded[datetime | None]("When it was created, in UTC.")
