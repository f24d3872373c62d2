"""Links copied versions into the collections of their project that they are linked to.

Versions get the next number of a collection when they are linked: they are linked in the order of
their numbers in the source. Links into other projects and registries are only reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aiowandb.errors import CommError
from aiowandb.ingest.report import CopiedRun
from aiowandb.ingest.target import Target, may_pass
from aiowandb.net import FATAL
from aiowandb.paths import ArtifactRef
from aiowandb.wire.artifact_record import ArtifactLink
from aiowandb.wire.artifact_writing import add_aliases, link_artifact

_LATEST = "latest"
_LINKS = "artifact links"


class _Wanted(NamedTuple):
    link: ArtifactLink
    # The copy of the version, and what that is linked to; without an id, it could not be copied.
    artifact_id: str | None
    there: Sequence[ArtifactLink]
    report: CopiedRun
    run: CopiedRun


class LinkCopier:
    """Makes the links of a copy, once all versions exist."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._wanted: dict[tuple[str, str], _Wanted] = {}

    def note(
        self,
        links: Sequence[ArtifactLink],
        artifact_id: str | None,
        there: Sequence[ArtifactLink],
        report: CopiedRun,
        run: CopiedRun,
    ) -> None:
        """Note the links of a version: which copy is to have them, and which it has."""
        for link in links:
            if link.project is None:
                wanted = _Wanted(link, artifact_id, there, report, run)
                self._wanted.setdefault((link.collection, report.run), wanted)
            else:
                report.dropped.append(f"its link to {link}, which is not in the copied project")

    async def make(self) -> None:
        """Make the links that are missing. The run of one that may work later is failed."""
        waiting: set[str] = set()
        for wanted in sorted(self._wanted.values(), key=_number):
            link = wanted.link
            if wanted.artifact_id is None or link.collection in waiting:
                waiting.add(link.collection)
                _fail(wanted, "an earlier one must be made first. Copy again.")
                continue
            try:
                await self._link(wanted, wanted.artifact_id)
            except FATAL:
                raise
            except CommError as error:
                if may_pass(error):
                    waiting.add(link.collection)
                    _fail(wanted, str(error))
                else:
                    wanted.report.dropped.append(f"its link to {link}: {error}")

    async def _link(self, wanted: _Wanted, artifact_id: str) -> None:
        link, report, session = wanted.link, wanted.report, self._target.session
        into = ArtifactRef(self._target.entity, self._target.project, link.collection, "")
        aliases = [alias for alias in link.aliases if alias != _LATEST]
        links = (each for each in wanted.there if each.project is None)
        known = next((each for each in links if each.collection == link.collection), None)
        if known is not None:
            aliases = [alias for alias in aliases if alias not in known.aliases]
            if not aliases:
                return
            await session.ask(add_aliases(artifact_id, into, aliases))
        else:
            version = await session.ask(link_artifact(artifact_id, into, aliases))
            report.carried = report.carried | {_LINKS: 1 + report.carried.get(_LINKS, 0)}
            if version not in (None, link.version):
                report.changed.append(
                    f"link: {link} is v{version} here, because versions are numbered without gaps"
                )
        if report.status == "unchanged":
            report.status = "updated"


def _fail(wanted: _Wanted, reason: str) -> None:
    if wanted.run.status != "failed":
        wanted.run.status = "failed"
        wanted.run.error = f"artifact {wanted.report.run}: link to {wanted.link}: {reason}"


def _number(wanted: _Wanted) -> tuple[str, int]:
    return wanted.link.collection, wanted.link.version or 0
