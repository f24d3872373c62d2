"""Logs and growing files on a disk: additions are written completely or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiowandb import ExportError
from aiowandb.export.folders.appending import LocalGrowingFile, LocalLog
from tests.export.disks import file_limit, filled, small_disk

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="limits as POSIX has them")

ONE, TWO, THREE = b'{"record":"one"}', b'{"record":"two","text":"x{y}"}', b'{"record":"three"}'


def lines(path: Path) -> list[bytes]:
    """The lines that are found when the log is opened again."""
    log = LocalLog(path)
    log.close()
    return log.text.splitlines()


@not_on_windows
def test_a_line_that_finds_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LocalLog(path)
    log.append(ONE)
    with file_limit(len(ONE) + 6), pytest.raises(ExportError, match="log: File too large"):
        log.append(TWO)
    assert path.read_bytes() == ONE + b"\n"
    log.append(THREE)
    log.close()
    assert lines(path) == [ONE, THREE]


@not_on_windows
def test_a_line_that_cannot_be_cut_off_at_once_is_cut_off_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LocalLog(tmp_path / "log")
    log.append(ONE)

    def refused(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refused)
        with file_limit(len(ONE) + 6), pytest.raises(ExportError, match="File too large"):
            log.append(TWO)
        with pytest.raises(ExportError, match="Input/output error"):
            log.append(TWO)
    log.append(THREE)
    log.close()
    assert lines(tmp_path / "log") == [ONE, THREE]


def test_a_line_that_is_not_on_the_disk_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LocalLog(tmp_path / "log")
    log.append(ONE)

    def failed(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failed)
        log.append(TWO, durable=False)
        with pytest.raises(ExportError, match="Input/output error"):
            log.append(THREE)
    log.close()
    assert lines(tmp_path / "log") == [ONE, TWO]


def test_only_durable_lines_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    log = LocalLog(tmp_path / "log")
    log.append(ONE, durable=False)
    assert not synced
    assert (tmp_path / "log").read_bytes() == ONE + b"\n"  # a kill does not lose it
    log.append(TWO)
    assert len(synced) == 1
    log.close()


def test_a_disk_that_is_full_time_after_time_tears_no_line(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "256k") as disk:
        log = LocalLog(disk / "log")
        written = []
        for number in range(3):
            with filled(disk, room=4096), pytest.raises(ExportError, match="No space left"):
                for repeat in range(1000):
                    line = b'{"record":"%d.%d"}' % (number, repeat)
                    log.append(line)
                    written.append(line)
        log.append(ONE)
        log.close()
        assert len(written) > 300
        assert lines(disk / "log") == [*written, ONE]


@pytest.mark.parametrize("cut", range(1, len(TWO)))
@pytest.mark.parametrize("followed", [[THREE], [THREE, ONE]])
def test_a_line_that_an_earlier_version_has_torn_costs_that_line_only(
    tmp_path: Path, cut: int, followed: list[bytes]
) -> None:
    text = ONE + b"\n" + TWO[:cut] + b"\n".join(followed) + b"\n"
    (tmp_path / "log").write_bytes(text)
    assert lines(tmp_path / "log") == [ONE, *followed]


def test_torn_lines_are_skipped_wherever_they_are_and_however_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torn = TWO[:9] + TWO[:3] + TWO + ONE + b"\n"  # the last two without a break between them
    nothing = b"\0\0\0\n"
    (tmp_path / "log").write_bytes(torn + THREE + b"\n" + nothing + TWO[:20] + ONE + b"\n" + TWO)
    assert lines(tmp_path / "log") == [TWO, ONE, THREE, ONE]
    assert "has 3 line(s)" in caplog.text


@pytest.mark.parametrize("text", [b'{"record":', b'{"record":1},', b'{"record":{"record":1},'])
def test_a_torn_line_with_any_number_of_beginnings_takes_no_time(
    tmp_path: Path, text: bytes
) -> None:
    inside = b'{"record":"widened","kinds":{"record":"float"}}'
    torn = text * 30_000 + b'"'
    (tmp_path / "log").write_bytes(torn + inside + b"\n" + THREE + b"\n")
    assert lines(tmp_path / "log")[-2:] == [inside, THREE]


def test_a_log_is_replaced_atomically(tmp_path: Path) -> None:
    log = LocalLog(tmp_path / "log")
    log.append(ONE)
    log.append(TWO)
    log.replace(THREE + b"\n")
    log.append(ONE)
    log.close()
    assert lines(tmp_path / "log") == [THREE, ONE]
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@not_on_windows
def test_a_replacement_that_finds_no_room_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    log = LocalLog(tmp_path / "log")
    log.append(ONE)
    with file_limit(100), pytest.raises(ExportError, match="File too large"):
        log.replace(TWO * 10 + b"\n")
    log.append(THREE)
    log.close()
    assert lines(tmp_path / "log") == [ONE, THREE]
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_replacement_that_was_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "log.new").write_bytes(TWO[:7])
    log = LocalLog(tmp_path / "log")
    log.replace(ONE + b"\n")
    log.close()
    assert lines(tmp_path / "log") == [ONE]


def test_a_growing_file_continues_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "state" / "rows"
    for data in (b"one", memoryview(b"two"), bytearray(b"three")):
        file = LocalGrowingFile(path)
        file.write(data)
        file.close()
    file = LocalGrowingFile(path)
    assert file.size == 11
    file.truncate(6)
    file.write(b"!")
    assert file.path.read_bytes() == b"onetwo!"
    file.close()


@not_on_windows
def test_a_growing_file_has_all_of_a_write_or_nothing(tmp_path: Path) -> None:
    file = LocalGrowingFile(tmp_path / "rows")
    file.write(b"one")
    with file_limit(5), pytest.raises(ExportError, match="rows: File too large"):
        file.write(b"three")
    assert (file.size, file.path.read_bytes()) == (3, b"one")
    file.write(b"two")
    assert (file.size, file.path.read_bytes()) == (6, b"onetwo")
    file.close()


def test_a_growing_file_survives_a_kill(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from aiowandb.export.folders.appending import LocalGrowingFile
file = LocalGrowingFile(Path({str(tmp_path / "rows")!r}))
file.write(b"rows")
os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode
    assert (tmp_path / "rows").read_bytes() == b"rows"
