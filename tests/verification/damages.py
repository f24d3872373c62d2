"""Damages of an export's folder, each with what a verification must say of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from aiowandb.export.folders.local import LocalFolder
from aiowandb.export.manifest import MANIFEST, SEAL, digest_of, manifest_text, read_manifest

STATE = ".aiowandb-export"
FIRST, SECOND = "history/part-00000.parquet", "history/part-00001.parquet"
WEIGHTS = "artifacts/model-a-v0/weights.bin"
JOURNAL = f"{STATE}/journal.jsonl"


class Damage(NamedTuple):
    """What is done to the folder, the file that must be named, a text that must be in what is
    said of it, and the runs that may no longer be deleted."""

    do: Callable[[Path], object]
    where: str
    what: str
    runs: str = ""


def flipped(name: str, at: float = 0.5) -> Callable[[Path], None]:
    """Flip a bit in the middle of the file."""

    def flip(out: Path) -> None:
        content = bytearray((out / name).read_bytes())
        content[int(len(content) * at)] ^= 1
        (out / name).write_bytes(content)

    return flip


def cut(name: str, by: int = 1) -> Callable[[Path], None]:
    def cut_off(out: Path) -> None:
        content = (out / name).read_bytes()
        (out / name).write_bytes(content[:-by])

    return cut_off


def lost(name: str) -> Callable[[Path], None]:
    return lambda out: (out / name).unlink()


def added(name: str, text: str = "x") -> Callable[[Path], None]:
    def add(out: Path) -> None:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)

    return add


def endless(name: str) -> Callable[[Path], None]:
    """Nothing but a hole for hours of reading, which takes no room on the disk."""
    return lambda out: os.truncate(out / name, 1 << 40)


def table(name: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Write the table again, with other rows."""

    def write(out: Path) -> None:
        pq.write_table(change(pq.read_table(out / name, partitioning=None)), out / name)

    return write


def other_values(rows: pa.Table, name: str) -> pa.Table:
    values = rows.column(name).to_pylist()
    changed = pa.array([values[0], *values[:-1]], rows.schema.field(name).type)
    return rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), changed)


def swapped(one: str, other: str) -> Callable[[Path], None]:
    def swap(out: Path) -> None:
        first, second = (out / one).read_bytes(), (out / other).read_bytes()
        (out / one).write_bytes(second)
        (out / other).write_bytes(first)

    return swap


def edited(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    """Change the lines of a text."""

    def edit(out: Path) -> None:
        lines = (out / name).read_text().splitlines()
        (out / name).write_text("".join(f"{line}\n" for line in change(lines)))

    return edit


def linked(name: str) -> Callable[[Path], None]:
    """The same content, but elsewhere."""

    def link(out: Path) -> None:
        there = (out / name).rename(out.parent / "elsewhere")
        (out / name).symlink_to(there)

    return link


def both(*damages: Callable[[Path], object]) -> Callable[[Path], None]:
    def do(out: Path) -> None:
        for damage in damages:
            damage(out)

    return do


def foreign(out: Path) -> None:
    """The journal of an export of another project."""
    lines = (out / JOURNAL).read_text().splitlines()
    begun = json.loads(lines[0])
    begun["source"]["project"] = "them/theirs"
    (out / JOURNAL).write_text("\n".join([json.dumps(begun), *lines[1:]]) + "\n")


def without_first_row_group(out: Path) -> None:
    rows = pq.read_table(out / FIRST, partitioning=None)
    half = rows.num_rows // 2
    pq.write_table(pa.concat_tables([rows.slice(half), rows.slice(half)]), out / FIRST)


def matched(name: str) -> Callable[[Path], None]:
    """Change the manifest as if the file had always been as it is now."""

    def match(out: Path) -> None:
        files = read_manifest(LocalFolder(out)) or {}
        with (out / name).open("rb") as file:
            files[name] = digest_of(file)
        (out / MANIFEST).write_bytes(manifest_text(files))

    return match


def _of_an_old_version(out: Path) -> None:
    """Make the journal as versions made it that wrote no manifest."""
    text = (out / JOURNAL).read_bytes()
    assert b',"sealed":true' in text
    (out / JOURNAL).write_bytes(text.replace(b',"sealed":true', b""))


NEVER_ENDED = both(lost(MANIFEST), lost(f"{STATE}/journal-copy.jsonl"))
NO_MANIFEST = both(NEVER_ENDED, _of_an_old_version)

# Two runs are in the first part of the history, and one in the second.
DAMAGES = {
    "a byte of a part": Damage(flipped(FIRST), FIRST, "content has changed", "ab"),
    "a byte of another part": Damage(flipped(SECOND, 0.2), SECOND, "content has changed", "c"),
    "a byte of the system metrics": Damage(
        flipped("system/part-00000.parquet"), "system/part-00000.parquet", "changed", "a"
    ),
    "a byte of the console output": Damage(
        flipped("logs/part-00000.parquet"), "logs/part-00000.parquet", "changed", "abc"
    ),
    "a byte of the metrics": Damage(
        flipped("metrics/part-00000.parquet"), "metrics/part-00000.parquet", "changed", "abc"
    ),
    "a byte of the sweeps": Damage(
        flipped("sweeps.parquet", 0.1), "sweeps.parquet", "content has changed"
    ),
    "a folder in place of a file": Damage(
        both(lost("files/a/output.log"), lambda out: (out / "files/a/output.log").mkdir()),
        "files/a/output.log",
        "",
        "a",
    ),
    "a byte of the table of runs": Damage(
        flipped("runs.parquet", 0.1), "runs.parquet", "content has changed", "abc"
    ),
    "a byte of the original records": Damage(
        flipped(f"{STATE}/originals", 0.1), f"{STATE}/originals", "content has changed", "abc"
    ),
    "a byte of a file": Damage(
        flipped("files/b/media/x.txt"), "files/b/media/x.txt", "content has changed", "b"
    ),
    "a byte of an artifact": Damage(flipped(WEIGHTS), WEIGHTS, "content has changed", "a"),
    "a byte of an artifact with XXH128": Damage(
        flipped("artifacts/model-b-v0/weights.bin"),
        "artifacts/model-b-v0/weights.bin",
        "content has changed",
        "b",
    ),
    "a byte of an artifact's record": Damage(
        flipped(f"{STATE}/artifacts/model-c-v0.json"),
        f"{STATE}/artifacts/model-c-v0.json",
        "content has changed",
        "c",
    ),
    "a byte of the journal": Damage(flipped(JOURNAL, 0.001), JOURNAL, "cannot be read"),
    "a byte of the copy of the journal": Damage(
        flipped(f"{STATE}/journal-copy.jsonl"), f"{STATE}/journal-copy.jsonl", "changed"
    ),
    "a byte of the manifest": Damage(flipped(MANIFEST), MANIFEST, "was changed, or is damaged"),
    "a lost part": Damage(lost(FIRST), FIRST, "is not there", "ab"),
    "a lost table of runs": Damage(lost("runs.parquet"), "runs.parquet", "not there", "abc"),
    "a lost file": Damage(lost("files/a/output.log"), "files/a/output.log", "not there", "a"),
    "a lost artifact": Damage(lost(WEIGHTS), WEIGHTS, "is not there", "a"),
    "a lost folder": Damage(
        lambda out: shutil.rmtree(out / "files" / "c"), "files/c/media/x.txt", "not there", "c"
    ),
    "a lost journal": Damage(lost(JOURNAL), JOURNAL, "is not there"),
    "a lost manifest": Damage(lost(MANIFEST), MANIFEST, "is not there"),
    "a lost manifest and copy": Damage(NEVER_ENDED, MANIFEST, "has not ended", "abc"),
    "a file cut off": Damage(cut("files/a/output.log"), "files/a/output.log", "bytes", "a"),
    "a part cut off": Damage(cut(SECOND, 9), SECOND, "not readable as Parquet", "c"),
    "an endless file": Damage(endless("files/a/output.log"), "files/a/output.log", "bytes", "a"),
    "an endless part": Damage(endless(SECOND), SECOND, "1,099,511,627,776 bytes instead", "c"),
    "an empty part": Damage(lambda out: (out / FIRST).write_bytes(b""), FIRST, "0 bytes", "ab"),
    "a part too many": Damage(
        lambda out: shutil.copy(out / FIRST, out / "history" / "part-00009.parquet"),
        "history/part-00009.parquet",
        "not part of the export",
    ),
    "a link in place of a file": Damage(
        linked("files/a/output.log"), "files/a/output.log", "is a symbolic link", "a"
    ),
    "a link too many": Damage(
        lambda out: (out / "history" / "part-00009.parquet").symlink_to(out / FIRST),
        "history/part-00009.parquet",
        "not part of the export",
    ),
    "a subfolder too many": Damage(
        lambda out: shutil.copytree(out / "system", out / "history" / "run_id=x"),
        "history/run_id=x/part-00000.parquet",
        "not part of the export",
    ),
    "an artifact's record too many": Damage(
        lambda out: shutil.copy(
            out / f"{STATE}/artifacts/model-a-v0.json", out / f"{STATE}/artifacts/theirs-v0.json"
        ),
        f"{STATE}/artifacts/theirs-v0.json",
        "not part of the export",
    ),
    "a file too many": Damage(
        added("files/a/more.txt"), "files/a/more.txt", "not part of the export"
    ),
    "a run fewer in the table of runs": Damage(
        table("runs.parquet", lambda rows: rows.slice(1)), "runs.parquet", "missing: a", "abc"
    ),
    "a run twice in the table of runs": Damage(
        table("runs.parquet", lambda rows: pa.concat_tables([rows, rows.slice(0, 1)])),
        "runs.parquet",
        "run a is there twice",
        "abc",
    ),
    "rows fewer": Damage(
        table(SECOND, lambda rows: rows.slice(0, 40)), SECOND, "40 rows of run c", "c"
    ),
    "other runs' rows": Damage(
        table(FIRST, lambda rows: rows.take([0] * rows.num_rows)), FIRST, "120 rows of run a", "ab"
    ),
    "a changed summary": Damage(
        table("runs.parquet", lambda rows: other_values(rows, "summary.best")),
        "runs.parquet",
        "",
        "abc",
    ),
    "a changed value": Damage(
        table(FIRST, lambda rows: other_values(rows, "loss")), FIRST, "", "ab"
    ),
    "a row group in place of another": Damage(without_first_row_group, FIRST, "", "ab"),
    "swapped parts": Damage(
        swapped(FIRST, SECOND), FIRST, f"it has the content of {SECOND}", "abc"
    ),
    "swapped files": Damage(
        swapped("files/a/output.log", "files/b/output.log"),
        "files/a/output.log",
        "it has the content of files/b/output.log",
        "ab",
    ),
    "a shorter journal": Damage(
        edited(JOURNAL, lambda lines: lines[:-2]), JOURNAL, "differs from the copy"
    ),
    "a journal with half a line": Damage(cut(JOURNAL, 20), JOURNAL, "differs from the copy"),
    "a journal with a line twice": Damage(
        edited(JOURNAL, lambda lines: [lines[0], lines[1], *lines[1:]]), JOURNAL, "was changed"
    ),
    "a journal with a line of garbage": Damage(
        edited(JOURNAL, lambda lines: [lines[0], "{garbage", *lines[1:]]), JOURNAL, "was changed"
    ),
    "a journal without the columns of a table": Damage(
        edited(
            JOURNAL,
            lambda lines: [
                line
                for line in lines
                if not line.startswith('{"record":"widened","dataset":"system"')
            ],
        ),
        JOURNAL,
        "differs from the copy",
    ),
    "an empty journal": Damage(
        lambda out: (out / JOURNAL).write_bytes(b""), JOURNAL, "does not say what was exported"
    ),
    "the journal of another export": Damage(foreign, JOURNAL, "of another export, of"),
    "a manifest with a line fewer": Damage(
        edited(MANIFEST, lambda lines: lines[:3] + lines[4:]), MANIFEST, "was changed"
    ),
    "a manifest cut off": Damage(edited(MANIFEST, lambda lines: lines[:-1]), MANIFEST, "damaged"),
    "a manifest that matches a changed value": Damage(
        both(table(FIRST, lambda rows: other_values(rows, "loss")), matched(FIRST)),
        MANIFEST,
        "was changed",
    ),
    "a manifest that matches a changed file": Damage(
        both(flipped("files/a/output.log"), matched("files/a/output.log")),
        "files/a/output.log",
        "MD5",
    ),
    "a lost seal of the manifest": Damage(lost(SEAL), MANIFEST, "was changed"),
    "a manifest of nothing": Damage(
        lambda out: (out / MANIFEST).write_bytes(b""), MANIFEST, "damaged"
    ),
}

# Without a manifest, as earlier versions left their exports.
OLD_DAMAGES = {
    "a byte of a file": Damage(flipped("files/b/media/x.txt"), "files/b/media/x.txt", "MD5", "b"),
    "a byte of an artifact with XXH128": Damage(
        flipped("artifacts/model-b-v0/weights.bin"),
        "artifacts/model-b-v0/weights.bin",
        "XXH128",
        "b",
    ),
    "a lost part": Damage(lost(FIRST), FIRST, "is not there", "ab"),
    "a lost table of runs": Damage(lost("runs.parquet"), "runs.parquet", "not there", "abc"),
    "a part cut off": Damage(cut(SECOND, 9), SECOND, "bytes instead of", "c"),
    "rows fewer": Damage(
        table(SECOND, lambda rows: rows.slice(0, 40)), SECOND, "40 rows of run c", "c"
    ),
    "a part too many": Damage(
        lambda out: shutil.copy(out / FIRST, out / "history" / "part-00009.parquet"),
        "history/part-00009.parquet",
        "not part of the export",
    ),
    "a run fewer in the table of runs": Damage(
        table("runs.parquet", lambda rows: rows.slice(1)), "runs.parquet", "missing: a", "a"
    ),
}
