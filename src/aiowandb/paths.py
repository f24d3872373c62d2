"""Paths of entities, projects, runs and artifacts, also as URLs pasted from a browser."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import msgspec

from aiowandb.config.hosts import is_cloud_page, page_path
from aiowandb.errors import InvalidPathError, UsageError

_RUN_FORMS = "Write it like entity/project/run_id, project/run_id or run_id."
_ARTIFACT_FORMS = "Write it like entity/project/name:alias, project/name:v3 or name."
_PROJECT_FORMS = "Write it like entity/project or project."
_PAGES_OF_A_PROJECT = frozenset(
    {"workspace", "table", "overview", "runs", "groups", "sweeps", "reports", "artifacts"}
)
# Characters that W&B refuses in new names.
_NOT_IN_RUN_IDS = dict.fromkeys(":;,#?/'").keys()
_NOT_IN_PROJECTS = dict.fromkeys("/\\#?%:").keys()
_LONGEST_PROJECT = 128
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Parts that may follow a run in the URL of its page: `/overview`, `/files/output.log`.
_TAB = re.compile(r"^(/?[^/]+/[^/]+/(?:runs|sweeps)/[^/]+)/.*")


class RunRef(msgspec.Struct, frozen=True, gc=False):
    """The complete path of a run."""

    entity: str
    project: str
    run: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.run}"


class RunPath(msgspec.Struct, frozen=True):
    """The path of a run as the user wrote it; None stands for a default."""

    entity: str | None
    project: str | None
    run: str


class ProjectPath(msgspec.Struct, frozen=True):
    """The path of a project as the user wrote it; None stands for a default."""

    entity: str | None
    project: str | None


class ArtifactRef(msgspec.Struct, frozen=True):
    """The complete path of a version of an artifact."""

    entity: str
    project: str
    collection: str
    version: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.collection}:{self.version}"


class ArtifactPath(msgspec.Struct, frozen=True):
    """The path of an artifact as the user wrote it; None stands for a default."""

    entity: str | None
    project: str | None
    name: str


def new_run_id() -> str:
    """An id for a new run, in W&B's format."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


def _is_odd(name: str) -> bool:
    return name != name.strip() or _CONTROL.search(name) is not None


def check_run_id(run_id: str) -> None:
    """Raise if W&B does not accept this id for a new run."""
    is_dots = run_id in (".", "..")  # these would be other folders in the URLs of files
    if is_dots or _is_odd(run_id) or not _NOT_IN_RUN_IDS.isdisjoint(run_id):
        raise UsageError(
            f"run_id must have no blanks around it, no control characters and none of"
            f" {' '.join(_NOT_IN_RUN_IDS)}, not {run_id!r}."
        )


def check_project_name(name: str, argument: str = "name") -> None:
    """Raise if W&B does not accept this name for a new project."""
    is_dots = name in (".", "..")
    is_blank = is_dots or not name.strip() or _CONTROL.search(name) is not None
    if is_blank or len(name) > _LONGEST_PROJECT or not _NOT_IN_PROJECTS.isdisjoint(name):
        raise UsageError(
            f"{argument} must have a letter, at most {_LONGEST_PROJECT} characters and none of"
            f" {' '.join(_NOT_IN_PROJECTS)}, not {name!r}."
        )


def parse_run_path(path: str | Sequence[str]) -> RunPath:
    """Read `entity/project/run`, with `/runs/`, with `:`, shortened, as a URL, or in parts.

    >>> parse_run_path("https://wandb.ai/me/mnist/runs/abc123?nw=x")
    RunPath(entity='me', project='mnist', run='abc123')
    """
    path = path if isinstance(path, str) else "/".join(path)
    below, is_page = _below_host(path)
    page = _TAB.sub(r"\1", below)
    parts = page.replace("/runs/", "/").replace("/sweeps/", "/").strip("/ ")
    segments = parts.split("/")
    if is_page and (len(segments) < 3 or segments[2] in _PAGES_OF_A_PROJECT):
        raise InvalidPathError(
            f"Invalid path: {path!r} is not the page of a run, which ends in"
            " entity/project/runs/run_id."
        )
    if ":" in segments[-1]:
        segments[-1:] = segments[-1].split(":", 1)
    segments = [segment.strip() for segment in segments]
    if not 1 <= len(segments) <= 3 or not all(segments):
        raise InvalidPathError(f"Invalid path: {path!r} is not the path of a run. {_RUN_FORMS}")
    *above, run = segments
    entity, project = (None, None, *above)[-2:]
    return RunPath(entity, project, run)


def parse_artifact_path(path: str) -> ArtifactPath:
    """Read `entity/project/name:alias`, shortened, without alias, or the URL of its page.

    >>> parse_artifact_path("https://wandb.ai/me/mnist/artifacts/model/cnn/v3")
    ArtifactPath(entity='me', project='mnist', name='cnn:v3')
    """
    # An alias may contain slashes, but a name no colons.
    below, is_page = _below_host(path)
    above, colon, alias = below.strip("/ ").partition(":")
    segments = [segment.strip() for segment in above.split("/")]
    if len(segments) > 4 and segments[2] == "artifacts":
        segments[2:] = [":".join(segments[4:6])]
    elif is_page:
        segments = []
    if not 1 <= len(segments) <= 3 or not all(segments) or (colon and not alias):
        raise InvalidPathError(
            f"Invalid path: {path!r} is not the path of an artifact. {_ARTIFACT_FORMS}"
        )
    *_, entity, project, name = (None, None, *segments)
    return ArtifactPath(entity, project, f"{name}{colon}{alias}")


def parse_project_path(path: str | None) -> ProjectPath:
    """Read `entity/project`, `project`, nothing at all, or a URL of any page of a project."""
    if path is None:
        return ProjectPath(None, None)
    below, is_page = _below_host(path)
    segments = [segment.strip() for segment in below.strip("/ ").split("/")]
    if is_page and len(segments) < 2:
        raise InvalidPathError(f"Invalid path: {path!r} is not the page of a project.")
    if len(segments) > 2 and segments[2] in _PAGES_OF_A_PROJECT:
        del segments[2:]
    if not 1 <= len(segments) <= 2 or not all(segments):
        raise InvalidPathError(
            f"Invalid path: {path!r} is not the path of a project. {_PROJECT_FORMS}"
        )
    entity, project = (None, *segments)[-2:]
    return ProjectPath(entity, project)


def names_more_than_a_project(path: str) -> bool:
    """Whether the path or URL is of something in a project, like a run or a sweep.

    >>> names_more_than_a_project("me/mnist"), names_more_than_a_project("me/mnist/abc123")
    (False, True)
    """
    below, is_page = _below_host(path)
    segments = below.strip("/ ").split("/")
    if len(segments) > 2 and segments[2] in _PAGES_OF_A_PROJECT:
        return len(segments) > 3
    return len(segments) > 2 or (not is_page and ":" in segments[-1])


def is_project_pattern(path: str) -> bool:
    """Whether the path is of all projects that match a glob, which has an asterisk.

    >>> is_project_pattern("me/*"), is_project_pattern("me/mnist?nw=x")
    (True, False)
    """
    return "*" in path and "://" not in path


def _below_host(path: str) -> tuple[str, bool]:
    """The path of a URL, or the path itself, and whether it was a URL."""
    pasted = path.strip()
    if _CONTROL.search(pasted):
        raise InvalidPathError(f"Invalid path: {path!r} has control characters.")
    host = pasted.partition("/")[0].lower()
    if "://" not in pasted and is_cloud_page(host):
        pasted = f"https://{pasted}"  # browsers do not show the scheme
    if "://" not in pasted:
        # Ids have no '?' and no '#', so what follows is from a browser's address bar.
        return path.split("?", 1)[0].split("#", 1)[0], False
    try:
        parts = urlsplit(pasted)
        is_web = parts.scheme in ("http", "https")
        below = page_path((parts.hostname or "").lower(), unquote(parts.path)) if is_web else None
    except ValueError:
        below = None
    if below is None:
        raise InvalidPathError(f"Invalid path: {path!r} is not the URL of a page of W&B.")
    return below, True
