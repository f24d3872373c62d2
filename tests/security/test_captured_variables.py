"""Error reports that show the variables of all frames show no signature of a link."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from aiowandb import AiowandbWarning, AsyncApi, RetryPolicy
from aiowandb.errors import AiowandbError
from aiowandb.redaction import Link
from aiowandb_server import RunChanges, Store, create_app
from tests.support.artifacts import log_artifact

PATH = "local/signed"
SECRET = "AbCdEf123456"
ANSWERS = {
    "refused": lambda: httpx.Response(403, text="expired"),
    "junk": lambda: httpx.Response(200, content=b"junk"),
    "moved": lambda: httpx.Response(302, headers={"Location": f"http://b.test/x?Key={SECRET}"}),
}


class Tampered(httpx.AsyncBaseTransport):
    """The embedded W&B with signed links, and what goes wrong with them."""

    def __init__(self, store: Store, fault: str) -> None:
        self._inner = httpx.ASGITransport(create_app(store))
        self._fault = fault
        self.links = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.links += SECRET in str(request.url)
            if self._fault == "unreachable":
                raise httpx.ConnectError("no route", request=request)
            if answer := ANSWERS.get(self._fault):
                return answer()
        response = await self._inner.handle_async_request(request)
        body = await response.aread()
        if request.url.path == "/graphql":
            for link in (b".parquet", b"/note.txt", b"wandb_manifest.json"):
                body = body.replace(link + b"?", link + f"?X-Signature={SECRET}&".encode())
            if self._fault == "malformed" and SECRET.encode() in body:
                self.links += 1
                body = body[:-3]
        return httpx.Response(response.status_code, content=body)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.chdir(tmp_path)
    with Store.open(tmp_path / "store") as store:
        project, _ = store.projects.ensure("local", "signed")
        run, _ = store.runs.upsert(project, "r", RunChanges())
        store.history.append(run, [f'{{"_step":{step},"loss":1}}' for step in range(20)])
        store.files.add(run, "note.txt", b"a note")
        log_artifact(store, run, "model", {"w.bin": b"weights"}, kind="model")
        store.finish(run, exit_code=0)
        yield store


async def scan(api: AsyncApi) -> None:
    run = await api.run(f"{PATH}/r")
    await anext(aiter(run.scan_history()))


async def export(api: AsyncApi) -> None:
    result = await api.runs(PATH).export("out")
    for failure in result.failed:
        raise failure.error


async def read_parts(api: AsyncApi) -> None:
    plan = await api.runs(PATH).plan(check_files=True)
    list(plan.read())


async def download_file(api: AsyncApi) -> None:
    await (await (await api.run(f"{PATH}/r")).file("note.txt")).download("down")


async def download_artifact(api: AsyncApi) -> None:
    await (await api.artifact(f"{PATH}/model:latest")).download("down")


@pytest.mark.anyio
@pytest.mark.parametrize("fault", [*ANSWERS, "unreachable", "malformed"])
@pytest.mark.parametrize("call", [scan, export, read_parts, download_file, download_artifact])
async def test_no_variable_of_a_frame_shows_a_signature(
    store: Store, fault: str, call: Callable[[AsyncApi], Awaitable[None]]
) -> None:
    transport = Tampered(store, fault)
    client = AsyncApi(
        store.local_key, base_url="http://wandb.test", entity="local", transport=transport,
        retry=RetryPolicy(random=lambda: 0.0, max_failures=2),
    )  # fmt: skip
    async with client as api:
        # Rows of files that are refused are read as JSON, with a warning, which is an error here.
        with pytest.raises((AiowandbError, AiowandbWarning)) as caught:
            await call(api)
    assert transport.links, "no signed link was used"
    assert SECRET not in with_all_variables(caught.value)
    assert SECRET not in f"{caught.value.__dict__}"


def with_all_variables(error: BaseException) -> str:
    """A traceback as detailed as can be; the frames of these tests know the secret."""
    frames = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(part for part in frames.format() if "tests/" not in part) + repr(error)


def test_a_link_is_compared_and_pickled_but_not_shown() -> None:
    link = Link(f"https://storage.example/file?X-Signature={SECRET}")
    assert pickle.loads(pickle.dumps(link)) == link
    assert link != Link("https://storage.example/file")
    assert len({link, pickle.loads(pickle.dumps(link))}) == 1
    assert SECRET not in f"{link} {link!r} {vars(type(link))}"
    assert link.reveal().endswith(SECRET)
