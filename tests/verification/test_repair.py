"""A repair keeps what is whole, sets aside what is not, and fetches that again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aiowandb import AsyncApi, ExportError, ExportResult, UsageError, verify
from aiowandb.export import pipeline
from tests.export.conftest import contents
from tests.verification.conftest import WHAT, Archive
from tests.verification.damages import DAMAGES, FIRST, JOURNAL, STATE, both, flipped, foreign, lost

pytestmark = pytest.mark.anyio
COPY = f"{STATE}/journal-copy.jsonl"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PART_ROWS", 100)


async def repaired(api: AsyncApi, out: Path) -> ExportResult:
    runs = api.runs("local/demo", order="+created_at")
    return await runs.export(out, what=WHAT, repair=True)


# A link is refused by every export, and to be removed by whoever made it.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (place % 2))
        for place, name in enumerate(name for name in DAMAGES if "link" not in name)
    ],
)
async def test_a_damaged_export_is_as_new_after_a_repair(
    archive: Archive, out: Path, name: str
) -> None:
    DAMAGES[name].do(out)
    async with archive.client() as api:
        await repaired(api, out)
        found = await verify(out, api=api)
    assert [str(problem) for problem in found.problems] == []
    assert found.may_be_deleted == ["a", "b", "c"]
    assert contents(out) == contents(archive.pristine)


@pytest.mark.parametrize("broken", ["lost", "flipped", "empty", "foreign"])
async def test_rows_are_not_fetched_again_if_only_the_journal_is_damaged(
    archive: Archive, out: Path, broken: str
) -> None:
    damages = {
        "lost": lost(JOURNAL),
        "flipped": flipped(JOURNAL, 0.5),
        "empty": lambda out: (out / JOURNAL).write_bytes(b""),
        "foreign": foreign,
    }
    damages[broken](out)
    async with archive.client() as api:
        again = await repaired(api, out)
    assert again.downloads == 0
    # The runs, sweeps and reports, and what was changed of files and of artifacts; a line that
    # cannot be read may be of one run's artifacts.
    assert again.requests <= 6


async def test_without_any_journal_the_tables_say_what_is_there(
    archive: Archive, out: Path
) -> None:
    both(lost(JOURNAL), lost(COPY), flipped(FIRST))(out)
    async with archive.client() as api:
        await repaired(api, out)
        found = await verify(out, api=api)
    assert found.is_complete, found.problems
    assert found.may_be_deleted == ["a", "b", "c"]
    assert contents(out) == contents(archive.pristine)
    assert (out / STATE / "set-aside" / FIRST).exists()


async def test_without_any_journal_rows_and_files_that_are_whole_stay(
    archive: Archive, out: Path
) -> None:
    shutil.rmtree(out / STATE)
    before = (out / FIRST).stat().st_ino
    async with archive.client() as api:
        await repaired(api, out)
        assert (await verify(out, api=api)).is_complete
    assert (out / FIRST).stat().st_ino == before
    assert contents(out) == contents(archive.pristine)


async def test_a_damaged_file_is_set_aside_and_not_deleted(archive: Archive, out: Path) -> None:
    flipped(FIRST)(out)
    damaged = (out / FIRST).read_bytes()
    async with archive.client() as api:
        await repaired(api, out)
    assert (out / STATE / "set-aside" / FIRST).read_bytes() == damaged


async def test_the_folder_of_another_export_is_refused_and_stays_as_it_is(
    archive: Archive, out: Path
) -> None:
    both(foreign, lost(COPY))(out)
    before = contents(out)
    async with archive.client() as api:
        with pytest.raises(ExportError, match="has another export"):
            await repaired(api, out)
        assert contents(out) == before
        shutil.rmtree(out / STATE)
        theirs = api.runs("local/demo", {"display_name": "nobody's"})
        with pytest.raises(ExportError, match="has rows of other runs, such as a"):
            await theirs.export(out, repair=True)
    assert contents(out) == before


async def test_a_damaged_journal_is_reported_with_what_to_do(archive: Archive, out: Path) -> None:
    flipped(JOURNAL, 0.001)(out)
    async with archive.client() as api:
        runs = api.runs("local/demo", order="+created_at")
        with pytest.raises(ExportError, match="Use repair to make it again from the files"):
            await runs.export(out, what=WHAT)
        lost(JOURNAL)(out)
        with pytest.raises(ExportError, match="no journal of its export. Use repair"):
            await runs.export(out, what=WHAT)


async def test_repairing_a_new_or_intact_folder_is_a_plain_export(
    archive: Archive, out: Path, tmp_path: Path
) -> None:
    async with archive.client() as api:
        assert (await repaired(api, out)).downloads == 0
        await repaired(api, tmp_path / "new")
    assert contents(tmp_path / "new") == contents(out)


async def test_a_repair_requires_a_folder_with_something_to_keep(
    archive: Archive, out: Path
) -> None:
    async with archive.client() as api:
        runs = api.runs("local/demo")
        with pytest.raises(UsageError, match="leave overwrite out"):
            await runs.export(out, repair=True, overwrite=True)
        with pytest.raises(UsageError, match="repair requires a folder"):
            await runs.export("-", repair=True)
