"""The result of a verification: what is wrong, and which runs may be deleted at W&B."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

ProblemKind = Literal["lost", "changed", "extra", "unreadable", "rows", "runs", "state"]


class Problem(msgspec.Struct, frozen=True):
    """A damage in the folder.

    `where` is a file, relative to the folder. `runs` are those whose data is damaged; None stands
    for all of them.
    """

    kind: ProblemKind
    where: str
    what: str
    runs: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class VerifiedRun(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on a run.

    `damaged` is what is wrong with the run in the folder. `short` is what the export could not
    read of it, or lacks compared with W&B; `left_out` is what W&B has of it besides what was to be
    exported. The run `may_be_deleted` at W&B if it was compared with the export, and nothing is
    missing there.
    """

    run: str
    may_be_deleted: bool = False
    damaged: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it may not be deleted."""
        return (*self.damaged, *self.short, *self.left_out)


class Verification(msgspec.Struct, kw_only=True):
    """The result of a verification.

    `source` is the host and project that were exported. `is_compared` says whether the runs were
    compared with those at W&B; without that, no run may be deleted there. `short` is what W&B has
    more of than the export, besides runs: sweeps and reports. `notes` are what is worth knowing
    and no damage.
    """

    folder: str
    source: str | None = None
    files: int = 0
    bytes: int = 0
    is_compared: bool = False
    problems: list[Problem] = []
    runs: list[VerifiedRun] = []
    short: list[str] = []
    notes: list[str] = []
    requests: int = 0
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether no file is damaged, and there is all of what was to be exported."""
        return not (self.problems or self.short) and not any(
            run.damaged or run.short for run in self.runs
        )

    @property
    def may_be_deleted(self) -> list[str]:
        """The runs that may be deleted at W&B, because the export has all of them."""
        return [run.run for run in self.runs if run.may_be_deleted]


class VerifyProgress(msgspec.Struct, frozen=True):
    """The progress of a verification: files and bytes that were read, and runs compared."""

    files: int
    total_files: int
    bytes: int
    total_bytes: int
    runs: int = 0


OnVerifyProgress: TypeAlias = Callable[[VerifyProgress], object]


class Comparison(msgspec.Struct, frozen=True):
    """What the export lacks of a run at W&B: of the exported kinds, and of others."""

    short: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def verdicts(
    runs: Iterable[str],
    problems: Iterable[Problem],
    failed: Mapping[str, Iterable[str]],
    compared: Mapping[str, Comparison] | None,
) -> list[VerifiedRun]:
    """The verdict on each run. `failed` is what the export could not read of it; `compared` is
    None if W&B was not asked.
    """
    everywhere: list[str] = []
    damages: dict[str, list[str]] = {}
    for problem in problems:
        if problem.runs is None:
            everywhere.append(str(problem))
        for run in problem.runs or ():
            damages.setdefault(run, []).append(str(problem))
    found = []
    for run in runs:
        comparison = compared.get(run) if compared is not None else None
        damaged = (*damages.get(run, ()), *everywhere)
        short = [f"{kind}: the export could not read all of it." for kind in failed.get(run, ())]
        left_out: tuple[str, ...] = ()
        if comparison:
            short, left_out = [*short, *comparison.short], comparison.left_out
        is_whole = comparison is not None and not (damaged or short or left_out)
        found.append(
            VerifiedRun(
                run=run,
                may_be_deleted=is_whole,
                damaged=damaged,
                short=tuple(short),
                left_out=left_out,
            )
        )
    return found
