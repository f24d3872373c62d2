"""What is known of runs, sweeps, artifacts, files and projects, the same in both faces.

The objects that users hold do not copy the records that W&B sent: they hold one, and show its
attributes as their own. So does an object of the synchronous face with the async one.
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
    """An object that holds another one."""

    def __init__(self, inner: A) -> None:
        self._inner = inner

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            f"{type(self).__name__} cannot be sent to another process, where its connection is"
            " not: send its path, and make an API client there."
        )


class RecordHolder(Holder[A]):
    """Something at W&B: `record` is what W&B told of it."""

    # What users may set, and what it may be set to.
    _writable: ClassVar[Mapping[str, Check]] = {}

    @property
    def record(self) -> A:
        """The msgspec struct with all that W&B told."""
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

    if not TYPE_CHECKING:  # type checkers know the attributes, and would take any name then

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_"):
                check_writable(type(self), name, self._writable)
                value = self._writable[name](name, value)
            object.__setattr__(self, name, value)


class Forwarded(Generic[T]):
    """An attribute of the object that is held, read and written there."""

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
    """What is known of a run."""

    id = Forwarded[str]("The id in the run's URL.")
    storage_id = Forwarded[str]("The opaque id that W&B itself uses.")
    entity = Forwarded[str]("The user or team that it belongs to.")
    project = Forwarded[str]("The project that it is in.")
    ref = Forwarded[RunRef]()
    path = Forwarded[list[str]]("Entity, project and id; `api.run()` takes it.")
    name = Forwarded[str | None]("The name for people.")
    display_name = Forwarded[str | None]("The same as `name`.")
    state = Forwarded[str | None]("`running`, `finished`, `failed`, `crashed`, `killed`.")
    tags = Forwarded[list[str]]("The tags. Changes are sent by `update()`.")
    group = Forwarded[str | None]("The group of runs that it belongs to.")
    job_type = Forwarded[str | None]("Its kind of job within its group.")
    commit = Forwarded[str | None]("The git commit of its code.")
    notes = Forwarded[str | None]("The notes for people. Changes are sent by `update()`.")
    description = Forwarded[str | None]()
    read_only = Forwarded[bool | None]()
    created_at = Forwarded[datetime | None]("When it was made, in UTC.")
    heartbeat_at = Forwarded[datetime | None]("When it last gave a sign of life, in UTC.")
    user = Forwarded[User | None]("Who made it.")
    username = Forwarded[str | None]("The name of the user who made the run.")
    sweep_name = Forwarded[str | None]("The id of the sweep that it is part of, or None.")
    config = Forwarded[dict[str, Any]]("The config. Changes are sent by `update()`.")
    raw_config = Forwarded[dict[str, Any]]("The config as W&B stores it, with its own keys.")
    rawconfig = Forwarded[dict[str, Any]]("The config with W&B's own keys, each value by itself.")
    json_config = Forwarded[str]("The config as JSON text, just as it is stored.")
    system_metrics = Forwarded[dict[str, Any]]("The latest system metrics.")
    summary_metrics = Forwarded[dict[str, Any]]("The summary as a plain dict.")
    history_keys = Forwarded[HistoryKeys | None]("The keys of its history, with types.")
    history_line_count = Forwarded[int | None]("How many rows its history has.")
    last_step = Forwarded[int]("The last step of the history, or -1 if there is none.")
    lastHistoryStep = Forwarded[int]("The same as `last_step`.")  # noqa: N815
    createdAt = Forwarded[datetime | None]("The same as `created_at`.")  # noqa: N815
    heartbeatAt = Forwarded[datetime | None]("The same as `heartbeat_at`.")  # noqa: N815


class SweepFields:
    """What is known of a sweep."""

    id = Forwarded[str]("The id in the sweep's URL.")
    storage_id = Forwarded[str]("The opaque id that W&B itself uses.")
    entity = Forwarded[str]()
    project = Forwarded[str]()
    path = Forwarded[list[str]]("Entity, project and id; `api.sweep()` takes it.")
    name = Forwarded[str]("The name that it was given, or its id.")
    display_name = Forwarded[str | None]()
    method = Forwarded[str | None]("`grid`, `random` or `bayes`.")
    state = Forwarded[str | None]("`RUNNING`, `FINISHED`, `STOPPED`, `CANCELED` or the like.")
    description = Forwarded[str | None]()
    best_loss = Forwarded[float | None]()
    config = Forwarded[dict[str, Any]]("The configuration, decoded.")
    config_text = Forwarded[str]("The configuration in YAML.")
    created_at = Forwarded[datetime | None]()
    updated_at = Forwarded[datetime | None]()
    run_count = Forwarded[int | None]("How many runs it has made.")
    expected_run_count = Forwarded[int | None]()
    order = Forwarded[str | None]("The order that puts the best run first, if there is a metric.")


class ArtifactFields:
    """What is known of a version of an artifact."""

    id = Forwarded[str]()
    name = Forwarded[str]("The name with its version.")
    entity = Forwarded[str]()
    project = Forwarded[str]()
    type = Forwarded[str]("The type, like `model`.")
    version = Forwarded[str]("The version, like `v3`.")
    aliases = Forwarded[list[str]]()
    tags = Forwarded[list[str]]()
    description = Forwarded[str | None]()
    metadata = Forwarded[dict[str, Any]]("What its maker noted.")
    digest = Forwarded[str]("The checksum of the manifest.")
    size = Forwarded[int]("How many bytes its files have.")
    file_count = Forwarded[int]()
    state = Forwarded[str]()
    created_at = Forwarded[datetime | None]()
    updated_at = Forwarded[datetime | None]()
    source = Forwarded[ArtifactRef]("Where it was logged.")
    qualified_name = Forwarded[str]("Entity, project and name; `api.artifact()` takes it.")
    source_qualified_name = Forwarded[str]("Entity, project and name under which it was logged.")
    is_link = Forwarded[bool]("Whether it was found in a collection that it is linked to.")


class FileFields:
    """What is known of a file."""

    id = Forwarded[str]()
    name = Forwarded[str]("The name, with the folders that it is in.")
    url = Forwarded[str | None]("Where it is fetched from, for a limited time.")
    direct_url = Forwarded[str | None]()
    size = Forwarded[int]("How many bytes it has.")
    md5 = Forwarded[str | None]("The checksum of its content, in base64.")
    mimetype = Forwarded[str | None]()
    updated_at = Forwarded[datetime | None]()


class ProjectFields:
    """What is known of a project."""

    id = Forwarded[str]()
    name = Forwarded[str]()
    entity = Forwarded[str]()
    path = Forwarded[list[str]]("Entity and name.")
    created_at = Forwarded[datetime | None]("When it was made, in UTC.")
