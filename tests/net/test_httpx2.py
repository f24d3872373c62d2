"""httpx2 besides httpx, and in its place."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from aiowandb import AsyncApi, UsageError
from tests.support.sample import RUNS, Sample

# Not among what `nox -s lowest` installs.
httpx2 = pytest.importorskip("httpx2")
IN_ITS_PLACE = """
import httpx2
httpx2.alias_httpx()

import io, logging, sys, tempfile
import anyio
from aiowandb import AsyncApi

url, key, path = sys.argv[1:]
log = io.StringIO()
logging.basicConfig(level=logging.INFO, stream=log)

async def main():
    for transport in (None, httpx2.AsyncHTTPTransport()):
        async with AsyncApi(key, base_url=url, transport=transport) as api:
            with tempfile.TemporaryDirectory() as folder:
                print((await api.runs(path).export(folder)).runs)
            assert api.traffic.downloads

for backend in ("asyncio", "trio"):
    anyio.run(main, backend=backend)
assert "/exports/" in log.getvalue()
assert "ignature" not in log.getvalue()
assert not {"httpx", "httpcore"} & {m.__name__ for m in list(sys.modules.values())}
"""


def test_a_transport_of_httpx2_is_refused_with_the_way_to_use_it() -> None:
    transport: Any = httpx2.AsyncHTTPTransport()
    with pytest.raises(UsageError, match=r"transport must be .* httpx2\.alias_httpx\(\) before"):
        AsyncApi("k" * 40, transport=transport)


@pytest.mark.slow
def test_an_application_that_puts_httpx2_in_the_place_of_httpx_gives_its_transports(
    sample: Sample, url: str
) -> None:
    command = [sys.executable, "-c", IN_ITS_PLACE, url, sample.key, sample.path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(RUNS)] * 4
