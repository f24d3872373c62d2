"""`api.export_projects()`: many projects, each into a folder of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from aiowandb.api.defaults import Defaults
from aiowandb.api.exporting import (
    EXPORT_CHECKS,
    FOLDER,
    check_target,
    export_options,
    is_database,
)
from aiowandb.api.projects import Projects
from aiowandb.api.runs import Runs
from aiowandb.arguments import (
    ANY_NAMES,
    FILTERS,
    FLAG,
    PATH,
    Check,
    FixedAttributes,
    Unfit,
    checks,
    either,
    optional,
    text,
)
from aiowandb.choices import Format, Layout, Nan, OnDeleted, Split, What
from aiowandb.concurrency.tasks import gather
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import (
    AiowandbError,
    AuthenticationError,
    CommError,
    InvalidPathError,
    NotFoundError,
    UsageError,
)
from aiowandb.files.folder import path_inside
from aiowandb.net import Session, is_server_down
from aiowandb.paths import is_project_pattern
from aiowandb.redaction import redacted
from aiowandb.user_warnings import warn
from aiowandb.wire.dotted import is_glob
from aiowandb.wire.filters import check_filters, check_order
from aiowandb.wire.record import ALL_FIELDS

if TYPE_CHECKING:
    from aiowandb.export import OnProjectEvent, ProjectExport

# Small projects spend most of their time waiting for W&B; large ones share the connections.
_PROJECTS_AT_ONCE = 4
_PROJECTS_PER_PAGE = 200


def _paths(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    found: tuple[str, ...] = ANY_NAMES("paths", value)
    if not found:
        raise Unfit
    return found


_CHECKS = {
    **EXPORT_CHECKS,
    "paths": Check("a path like 'entity/project' or 'entity/*', or a list of them", _paths),
    "target": either(FOLDER, PATH, what="a folder, by its path or URL"),
    "filters": optional(FILTERS),
    "order": optional(text("an order like '-created_at'", empty=True)),
    "include_projects": ANY_NAMES,
    "exclude_projects": ANY_NAMES,
    "plan": FLAG,
}


class ProjectExports(FixedAttributes):
    """The method of a client that exports many projects."""

    _session: Session
    _defaults: Defaults

    @checks(**_CHECKS)
    async def export_projects(
        self,
        paths: str | Sequence[str],
        target: str | Path,
        *,
        filters: Mapping[str, Any] | None = None,
        order: str | None = "-created_at",
        include_projects: Sequence[str] = (),
        exclude_projects: Sequence[str] = (),
        plan: bool = False,
        format: Format = "parquet",
        what: Collection[What] | Literal["all"] | None = None,
        layout: Layout = "wide",
        split: Split | None = None,
        keys: Sequence[str] | None = None,
        any_key: bool = True,
        exclude: Sequence[str] = (),
        min_step: int | None = None,
        max_step: int | None = None,
        samples: int | None = None,
        safe_csv: bool = False,
        on_deleted: OnDeleted = "keep",
        nan: Nan | None = None,
        filesystem: Any = None,
        overwrite: bool = False,
        repair: bool = False,
        on_event: OnProjectEvent | None = None,
    ) -> list[ProjectExport]:
        """Export many projects, each as `Runs.export` does, to the folder `entity/project` of
        the target.

        `paths` are projects, or globs like `entity/*` and `entity/mnist-*`. Of those that they
        match, `include_projects` and `exclude_projects`, names or globs, select some. A project
        that fails does not stop the others: its item in the list has the error. With `plan`
        nothing is exported, and the items have plans. `on_event` is called with the path of a
        project and each of its events. The other arguments are those of `Runs.export`.

        >>> for done in await api.export_projects(["me/*"], "out", exclude_projects=["test-*"]):
        ...     print(done.project, done.error or done.result.rows)
        """
        options: dict[str, Any] = {
            "format": format,
            "what": what,
            "layout": layout,
            "split": split,
            "keys": keys,
            "any_key": any_key,
            "exclude": exclude,
            "min_step": min_step,
            "max_step": max_step,
            "samples": samples,
            "safe_csv": safe_csv,
            "on_deleted": on_deleted,
            "nan": nan,
        }
        check_filters(filters or {})
        check_order(order)
        if str(target) in ("-", ""):
            raise UsageError(f"Many projects are exported to a folder, and {target!r} is none.")
        if is_database(target):
            raise UsageError(
                f"Many projects are exported to a folder, and {redacted(str(target))} is a"
                " database: export each into a table of its own."
            )
        if plan and repair:
            raise UsageError("plan and repair cannot be combined: a plan writes nothing.")
        made = await export_options(target, **options)
        check_target(target, made, filesystem=filesystem, overwrite=overwrite, repair=repair)
        found = await find_projects(
            self._session, self._defaults, paths, include_projects, exclude_projects
        )

        def runs_of(project: str) -> Runs:
            return Runs(self._session, self._defaults, project, filters, order, 50, ALL_FIELDS)

        several = _Several(
            self._session,
            runs_of,
            target,
            options | {"filesystem": filesystem, "overwrite": overwrite},
            plan=plan,
            repair=repair,
            on_event=on_event,
        )
        return await gather(found, several.export, _PROJECTS_AT_ONCE)


class _Several:
    """Exports projects one by one, until W&B stops answering."""

    def __init__(
        self,
        session: Session,
        runs_of: Callable[[str], Runs],
        target: str | Path,
        options: Mapping[str, Any],
        *,
        plan: bool,
        repair: bool,
        on_event: OnProjectEvent | None,
    ) -> None:
        self._session = session
        self._runs_of = runs_of
        self._target = target
        self._options = options
        self._plan = plan
        self._repair = repair
        self._on_event = on_event
        self._down: CommError | None = None

    async def export(self, project: str) -> ProjectExport:
        from aiowandb.export import ProjectExport

        facts: dict[str, Any] = {}
        folder: Path | str = self._target
        try:
            folder = await run_sync(self._folder, project)
            if self._down:
                raise self._down
            facts = await self._exported(project, folder)
        except (AiowandbError, OSError) as error:
            facts = {"error": error}
            if isinstance(error, CommError) and not isinstance(error, AuthenticationError):
                self._down = error if await is_server_down(self._session, error) else self._down
        done = ProjectExport(project=project, folder=folder, **facts)
        if self._on_event:
            self._on_event(project, done)
        return done

    async def _exported(self, project: str, folder: Path | str) -> dict[str, Any]:
        runs = self._runs_of(project)
        if self._plan:
            return {"plan": await runs.plan_export(folder, **self._options)}
        on_event = partial(self._on_event, project) if self._on_event else None
        arguments = {**self._options, "repair": self._repair, "on_event": on_event}
        return {"result": await runs.export(folder, **arguments)}

    def _folder(self, project: str) -> Path | str:
        """The project's folder: of names that W&B sends, none may lead out of the target."""
        target = str(self._target)
        filesystem = self._options["filesystem"]
        if filesystem is None and (isinstance(self._target, Path) or "://" not in target):
            return path_inside(Path(target), project)
        path_inside(Path(), project)
        if filesystem is not None:
            return f"{target.rstrip('/')}/{project}"
        # The options of a file system follow the path.
        parts = urlsplit(target)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{project}"))


async def find_projects(
    session: Session,
    defaults: Defaults,
    paths: Sequence[str],
    include: Sequence[str],
    exclude: Sequence[str],
) -> list[str]:
    """The paths of the projects that these paths name or match, each once."""
    found: dict[str, None] = {}
    for path in paths:
        async with aclosing(_matching(session, defaults, path)) as matching:
            names = [name async for name in matching]
        if not names:
            warn(f"No project matches {path!r}.")
        found.update(dict.fromkeys(names))
    included = _matched(found, include) if include else found.keys()
    excluded = _matched(found, exclude)
    chosen = [path for path in found if path in included and path not in excluded]
    if not chosen:
        raise NotFoundError(
            f"No project matches {', '.join(paths)}"
            + (f", and none of the {len(found):,} found is selected." if found else ".")
        )
    return chosen


async def _matching(session: Session, defaults: Defaults, path: str) -> AsyncGenerator[str]:
    entity, slash, pattern = path.strip().rpartition("/")
    if not is_project_pattern(path):
        yield "/".join(await defaults.project(path))
        return
    if is_glob(entity) or "/" in entity or (slash and not entity):
        raise InvalidPathError(
            f"Invalid path: in {path!r}, only the name of the project can be a pattern:"
            " write it like 'entity/*'."
        )

    async def owner() -> str:
        return entity or await defaults.entity()

    async with aclosing(Projects(session, owner, _PROJECTS_PER_PAGE, fresh=True)._pages()) as pages:
        async for page in pages:
            for project in page:
                if fnmatchcase(project.name, pattern):
                    yield f"{project.entity}/{project.name}"


def _matched(paths: Collection[str], patterns: Sequence[str]) -> set[str]:
    """The projects that the patterns match: their names, or their paths if they have a slash.

    What is the name of a project stands for this one only, even if it has brackets.
    """
    found: set[str] = set()
    for pattern in patterns:
        names = {path: path if "/" in pattern else path.partition("/")[2] for path in paths}
        same = {path for path, name in names.items() if name == pattern}
        found |= same or {path for path, name in names.items() if fnmatchcase(name, pattern)}
    return found
