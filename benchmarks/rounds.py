"""How contenders are measured: in turn, round after round, against the replay server."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import msgspec
import psutil
import trustme

from benchmarks.contenders.clock import Cost, Job
from benchmarks.written import Written, written

ROOT = Path(__file__).parent.parent


class Setting(msgspec.Struct, frozen=True):
    """What the server is: a project, its history as Parquet or `live` as JSON, and its manners.

    Its runs have 50 keys in config and summary, and so many `keys` more.
    """

    runs: int
    rows: int
    live: bool = False
    latency: float = 0.0
    rate_limit: float | None = None
    keys: int = 0
    tls: bool = False

    def at(self, latency: float) -> Setting:
        """The same, so many seconds away."""
        return msgspec.structs.replace(self, latency=latency)


class Contender(msgspec.Struct, frozen=True):
    """A module of `benchmarks.contenders`, and the job that it is given."""

    name: str
    module: str
    job: str


class Traffic(msgspec.Struct, frozen=True):
    """What the server has counted since it started; `cpu` are the seconds of its process."""

    api: int
    refused: int
    downloads: int
    bytes: int
    cpu: float = 0.0

    def since(self, before: Traffic) -> Traffic:
        return Traffic(*(getattr(self, f) - getattr(before, f) for f in self.__struct_fields__))


class Sample(msgspec.Struct, frozen=True):
    """One contender's job, done once."""

    cost: Cost
    written: Written
    traffic: Traffic


Samples = dict[str, list[Sample]]


class Origin:
    """The running replay server."""

    def __init__(
        self, url: str, process: subprocess.Popen[str], authority: str | None = None
    ) -> None:
        self.url = url
        # The file with the certificate that its clients are to trust, if it speaks TLS.
        self.authority = authority
        self._process = psutil.Process(process.pid)

    def traffic(self) -> Traffic:
        verify = ssl.create_default_context(cafile=self.authority) if self.authority else True
        counts = httpx.get(f"{self.url}/counts", verify=verify).json()
        times = self._process.cpu_times()
        return Traffic(**counts, cpu=times.user + times.system)


@contextmanager
def origin(setting: Setting) -> Iterator[Origin]:
    """The replay server, for as long as the block runs."""
    options = [f"--runs={setting.runs}", f"--rows={setting.rows}", f"--latency={setting.latency}"]
    options += [f"--keys={setting.keys}"]
    options += ["--live"] if setting.live else []
    options += [f"--rate-limit={setting.rate_limit}"] if setting.rate_limit else []
    command = [sys.executable, "-m", "benchmarks.origin", *options]
    with TemporaryDirectory(prefix="aiowandb-bench-") as folder:
        certificates = _certificates(Path(folder)) if setting.tls else None
        command += [f"--certificate={certificates.server}"] if certificates else []
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                url = process.stdout.readline().strip()
                yield Origin(url, process, certificates.authority if certificates else None)
            finally:
                process.terminate()


class _Certificates(msgspec.Struct):
    authority: str
    server: str


def _certificates(folder: Path) -> _Certificates:
    """What a server at 127.0.0.1 shows, and the authority that its clients are to trust."""
    authority, server = folder / "authority.pem", folder / "server.pem"
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(authority)
    issuer.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server)
    return _Certificates(str(authority), str(server))


def race(setting: Setting, contenders: Sequence[Contender], rounds: int) -> Samples:
    """Each contender once a round, another one first each time."""
    samples: Samples = {contender.name: [] for contender in contenders}
    with origin(setting) as server:
        for number in range(rounds):
            start = number % len(contenders)
            for contender in (*contenders[start:], *contenders[:start]):
                before = server.traffic()
                cost, files = run(contender, server, setting.runs)
                sample = Sample(cost, files, server.traffic().since(before))
                samples[contender.name].append(sample)
    return samples


def run(contender: Contender, server: Origin, runs: int) -> tuple[Cost, Written]:
    """The job in a new process, with a home, a cache and a working directory of its own."""
    with TemporaryDirectory(prefix="aiowandb-bench-") as home:
        folder = Path(home, "out")
        folder.mkdir()
        asked = msgspec.json.encode(Job(contender.job, server.url, str(folder), runs)).decode()
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.contenders.{contender.module}", asked],
            cwd=home,
            env=_environment(Path(home), server),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{contender.name} failed:\n{done.stdout}\n{done.stderr}")
        cost = msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=Cost)
        return cost, written(folder)


def _environment(home: Path, server: Origin) -> dict[str, str]:
    kept = {n: value for n, value in os.environ.items() if not n.startswith("WANDB_")}
    trusted = {"SSL_CERT_FILE": server.authority} if server.authority else {}
    return (
        kept
        | trusted
        | {
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "WANDB_BASE_URL": server.url,
            "WANDB_API_KEY": "0" * 40,
            "WANDB_DIR": str(home),
            "WANDB_CACHE_DIR": str(home / "cache"),
            "WANDB_CONFIG_DIR": str(home / "config"),
            "WANDB_SILENT": "true",
        }
    )
