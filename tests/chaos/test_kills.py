"""Exporters and servers killed at any time, under load."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from aiowandb_server import Store
from tests.chaos.world import rows
from tests.support import forked
from tests.support.processes import PROJECT, Server, Writer, start

pytestmark = pytest.mark.slow
KILLS = 100


def test_a_hundred_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    chance, kills = random.Random(8), Counter[str]()
    data, out = tmp_path / "data", tmp_path / "out"
    with Store.open(data, crash_after=float("inf")) as store:
        server = Server(data)
        export_into = partial(start, forked.export, server.url, store.local_key, PROJECT)
        writers = [Writer(server, store, f"run-{number}") for number in range(4)]
        exporter = export_into(out)
        try:
            # How many rows come in, and what is there to be killed, depends on the machine.
            while (
                kills.total() < KILLS
                or min(kills["server"], kills["exporter"]) <= 20
                or min(writer.acknowledged for writer in writers) <= 100
            ):
                time.sleep(chance.uniform(0.01, 0.5))
                if exporter.exitcode is not None or chance.random() < 0.5:
                    server.kill()
                    server.start()
                    kills["server"] += 1
                else:
                    exporter.kill()
                    exporter.join()
                    kills["exporter"] += exporter.exitcode == -signal.SIGKILL
                if exporter.exitcode is not None:
                    exporter = export_into(out)
        finally:
            for writer in writers:
                writer.stop()
            exporter.kill()
            exporter.join()
        for folder in (out, tmp_path / "fresh"):
            last = export_into(folder)
            last.join(600)
            assert last.exitcode == 0
        server.kill()
    assert kills["server"] > 20
    assert kills["exporter"] > 20
    found = rows(out)
    assert found == rows(tmp_path / "fresh")
    assert found.keys() == {writer.name for writer in writers}
    for writer in writers:
        assert writer.acknowledged > 100
        # The rows that were under way at the end may or may not have made it.
        assert len(found[writer.name]) in (writer.acknowledged, writer.acknowledged + 3)
        assert len(set(found[writer.name])) == len(found[writer.name])
