"""Finds files of runs by their names, those of many runs in one request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from aiowandb.errors import CommError, NotFoundError
from aiowandb.net import BatchSize, Session, ask_all
from aiowandb.paths import RunRef
from aiowandb.wire.files import FileRecord, FilesByAlias, NamedFiles, files_by_name
from aiowandb.wire.history import alias

# W&B returns at most so many files at once.
_NAMES_AT_ONCE = 100


class RunFileLookup:
    """Asks for files of one run after another."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._size = BatchSize(25, 100)

    async def find(self, ref: RunRef, names: Sequence[str]) -> Mapping[str, FileRecord]:
        """The files of a run with these names, as far as they exist."""
        answer = (await find_files(self._session, {ref: names}, self._size))[ref]
        if isinstance(answer, CommError):
            raise answer
        return answer


async def find_files(
    session: Session, wanted: Mapping[RunRef, Sequence[str]], size: BatchSize
) -> dict[RunRef, dict[str, FileRecord] | CommError]:
    """For each run, its files with these names, or the error that asking for them ended with."""

    def pick(
        found: FilesByAlias | None, index: int, asked: NamedFiles
    ) -> list[FileRecord] | CommError:
        run = (found or {}).get(alias(index))
        if run is None:
            return NotFoundError(f"Could not find run {asked.ref}.", operation="RunFilesByName")
        return run.nodes

    asked = list(_questions(wanted))
    answers = await ask_all(session, asked, files_by_name, pick, size)
    found: dict[RunRef, dict[str, FileRecord] | CommError] = {ref: {} for ref in wanted}
    for question, answer in zip(asked, answers, strict=True):
        so_far = found[question.ref]
        if isinstance(answer, CommError):
            found[question.ref] = answer
        elif not isinstance(so_far, CommError):
            so_far.update((file.name, file) for file in answer)
    return found


def _questions(wanted: Mapping[RunRef, Sequence[str]]) -> Iterator[NamedFiles]:
    for ref, names in wanted.items():
        for first in range(0, len(names), _NAMES_AT_ONCE):
            yield NamedFiles(ref, tuple(names[first : first + _NAMES_AT_ONCE]))
