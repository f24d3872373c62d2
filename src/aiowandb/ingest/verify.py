"""Compares both sides of a copy, run by run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from hashlib import blake2b, md5
from itertools import islice
from typing import Any

from aiowandb.concurrency.tasks import gather
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import AiowandbError
from aiowandb.ingest.digests import RowsDigest
from aiowandb.ingest.report import Difference
from aiowandb.ingest.source import RunFacts, SourceArtifact, SourceFile, SourceRun
from aiowandb.wire import lenient
from aiowandb.wire.json_edit import alike, read_object

# The facts that are compared, besides config and summary.
_WORDS = ("name", "tags", "notes", "description", "group", "job_type", "commit", "state")
_AT_ONCE = 4
_LONGEST_VALUE = 120
# The most differences that are reported for a run: with more, it is a different run.
_NAMED = 50
_CONFIG_LEVELS = 2
_NOT_THERE = "nothing"
_Unlike = tuple[str, object, object]


async def compare_runs(
    pairs: Sequence[tuple[SourceRun, SourceRun | None]], *, states: bool
) -> list[Difference]:
    """The differences between runs and their copies, with `states` also those of their states."""

    async def compare(pair: tuple[SourceRun, SourceRun | None]) -> list[Difference]:
        run, copy = pair
        if copy is None:
            return [Difference(run.facts.id, "run", "there", _NOT_THERE)]
        try:
            found = [unlike async for unlike in _compare(run, copy, states=states)]
        except AiowandbError as error:
            return [Difference(run.facts.id, "could not be read", str(error), "")]
        return [
            Difference(run.facts.id, where, _shown(one), _shown(other))
            for where, one, other in islice(found, _NAMED)
        ]

    found = await gather(pairs, compare, at_once=_AT_ONCE)
    return [difference for some in found for difference in some]


async def _compare(run: SourceRun, copy: SourceRun, *, states: bool) -> AsyncGenerator[_Unlike]:
    rows = await _rows(run)
    for unlike in _unlike_facts(run.facts, copy.facts, states=states):
        yield unlike
    for unlike in rows.differences(await _rows(copy)):
        yield unlike
    for unlike in _unlike_items("system metrics", await _metrics(run), await _metrics(copy)):
        yield unlike
    for unlike in _unlike_items("console", await _console(run), await _console(copy)):
        yield unlike
    for unlike in _unlike_members("file", await _files(run), await _files(copy)):
        yield unlike
    made, copied = await _made(run), await _made(copy)
    # What the source has not numbered is known by its content.
    numbered = all(one.version is not None for one in made)
    linked = all(one.other_collections is not None for one in made)
    here, there = (
        await _artifact_facts(run, made, numbered=numbered, linked=linked),
        await _artifact_facts(copy, copied, numbered=numbered, linked=linked),
    )
    for unlike in _unlike_members("artifact", here, there):
        yield unlike


def _unlike_facts(facts: RunFacts, copy: RunFacts, *, states: bool) -> Iterator[_Unlike]:
    for name in _WORDS if states else _WORDS[:-1]:
        one, other = getattr(facts, name), getattr(copy, name)
        if name == "name":
            one = one or facts.id
        if (one or None) != (other or None):
            yield name, one, other
    yield from _unlike_members(
        "config",
        read_object(facts.config, _CONFIG_LEVELS),
        read_object(copy.config, _CONFIG_LEVELS),
    )
    if facts.summary is not None:
        yield from _unlike_members("summary", read_object(facts.summary), read_object(copy.summary))


def _unlike_members(
    what: str, one: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[_Unlike]:
    for key in {**one, **other}:
        if key not in one or key not in other or not alike(one[key], other[key]):
            yield f"{what} {key}", one.get(key, _NOT_THERE), other.get(key, _NOT_THERE)


def _unlike_items(what: str, one: tuple[int, str], other: tuple[int, str]) -> Iterator[_Unlike]:
    for name, here, there in zip(("lines", "checksum"), one, other, strict=True):
        if here != there:
            yield f"{what}: {name}", here, there


async def _rows(run: SourceRun) -> RowsDigest:
    digest = RowsDigest()
    async with aclosing(run.rows()) as batches:
        async for batch in batches:
            await run_sync(digest.add, batch)
    return digest


async def _metrics(run: SourceRun) -> tuple[int, str]:
    count, digest = 0, blake2b(digest_size=12)
    async with aclosing(run.system_metrics()) as pages:
        async for lines in pages:
            for line in lines:
                row = lenient.dumps(lenient.loads(line), sort_keys=True)
                digest.update(f"{row}\n".encode(errors="replace"))
            count += len(lines)
    # W&B returns a sample, and counts all: lines that are not in it are missing from the copy.
    counted = run.counted_metrics
    return count if counted is None else counted, digest.hexdigest()


async def _console(run: SourceRun) -> tuple[int, str]:
    count, digest = 0, blake2b(digest_size=12)
    async with aclosing(run.console()) as pages:
        async for lines in pages:
            for line in lines:
                said = (line.timestamp, line.level, line.label, line.content)
                digest.update(f"{said}\n".encode(errors="replace"))
            count += len(lines)
    return count, digest.hexdigest()


async def _files(run: SourceRun) -> dict[str, str]:
    found = {}
    async with aclosing(run.files()) as files:
        async for file in files:
            found[file.name] = f"{file.size:,} bytes, md5 {file.md5 or await _md5(file)}"
    return found


async def _md5(file: SourceFile) -> str:
    digest = md5(usedforsecurity=False)
    async for piece in file.content():
        digest.update(piece)
    return digest.hexdigest()


async def _made(run: SourceRun) -> list[SourceArtifact]:
    if not run.has_artifacts:
        return []
    async with aclosing(run.artifacts()) as made:
        return [one async for one in made]


async def _artifact_facts(
    run: SourceRun, made: Sequence[SourceArtifact], *, numbered: bool, linked: bool
) -> dict[str, str]:
    """The facts about the artifacts of a run, by name."""
    found: dict[str, str] = {}
    for one in made:
        entries = sorted((e.name, e.digest, e.size, _outside(e.ref)) for e in await one.entries())
        manifest = blake2b(repr(entries).encode(errors="replace"), digest_size=12).hexdigest()
        name = one.label if numbered else f"{one.name} {one.digest}"
        aliases = sorted(one.aliases) if numbered else []
        inside = [each for each in one.other_collections or () if linked and not each.project]
        links = sorted((each.collection, each.aliases) for each in inside)
        said = (one.type, one.digest, aliases, sorted(one.tags), one.description or None, links)
        # Where W&B numbers the versions, one with the content of an earlier one is that one.
        found.setdefault(name, f"{said} {one.metadata} manifest {manifest}")
    if run.has_artifacts:
        async with aclosing(run.used_artifacts()) as used:
            async for one in used:
                found[f"used {one.label}"] = one.digest
    return found


def _outside(ref: str | None) -> str | None:
    # References to other artifacts have other ids in a copy.
    return "" if ref and ref.startswith("wandb-artifact://") else ref


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"
