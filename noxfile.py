"""Every check of the project; `nox -l` lists them, `nox` runs what a change needs."""

from __future__ import annotations

import shutil

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests"]
PYTHONS = ["3.11", "3.12", "3.13"]
LOWEST = [
    # Old versions of starlette close files late if their reader leaves, and S3 needs a server.
    "-k=not leaving_early and not test_loops and not s3",
    "tests/history",
    "tests/concurrency",
    "tests/config",
    "tests/files",
    "tests/net",
    "tests/wire",
    *(
        f"tests/export/test_{name}.py"
        for name in ("again", "columns", "delta", "formats", "stream")
    ),
]
ENGINES = ["tests/engines", "tests/docs/test_examples.py"]
TRACKERS = ["tests/ingest/sources"]
GROUPS = nox.project.load_toml("pyproject.toml")


def _install(session: nox.Session, group: str) -> None:
    session.install("-e", ".[all]", *nox.project.dependency_groups(GROUPS, group))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The complete test suite, with branch coverage."""
    _install(session, "test")
    session.run("pytest", "--cov", *session.posargs)


@nox.session(venv_backend="uv", python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The lowest versions that pyproject.toml allows: formats, histories, and the command."""
    core = nox.project.dependency_groups(GROUPS, "test-core")
    session.install("--resolution", "lowest-direct", "-e", ".[all]", *core)
    session.run("aiowandb", "demo", session.create_tmp())
    # Something among the tools may have wanted newer versions: then nothing would be tested here.
    session.run("pytest", "-n0", "-m=lowest", "tests/security/test_supply.py")
    session.run("pytest", *(session.posargs or LOWEST))


@nox.session(venv_backend="uv", python=PYTHONS[0])
def engines_quick(session: nox.Session) -> None:
    """Daft on its native runner, and Spark's data source on Sail, in less than a minute."""
    session.install("-e", ".", *nox.project.dependency_groups(GROUPS, "engines-quick"))
    session.run("pytest", "-n0", "-m=engines_quick", *(session.posargs or ENGINES[:1]))


@nox.session(venv_backend="uv", python=PYTHONS[0])
def engines(session: nox.Session) -> None:
    """Spark, dlt, Dask, Ray, Beam and Iceberg for real: over a gigabyte, and Java."""
    session.install("-e", ".", *nox.project.dependency_groups(GROUPS, "engines"))
    session.run("pytest", "-n0", "-m=engines", "-rs", *(session.posargs or ENGINES))


@nox.session(venv_backend="uv", python=PYTHONS[0])
def trackers(session: nox.Session) -> None:
    """Imports of what MLflow and TensorBoard have written themselves."""
    session.install("-e", ".", *nox.project.dependency_groups(GROUPS, "trackers"))
    session.run("pytest", "-n0", "-m=trackers", *(session.posargs or TRACKERS))


@nox.session
def lint(session: nox.Session) -> None:
    """Style, common mistakes, and the direction of imports."""
    _install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """mypy and pyright, both strict about what users see."""
    _install(session, "types")
    session.run("mypy")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """The pages and llms.txt, strictly: any warning fails. Nothing is asked of the network."""
    _install(session, "docs")
    target = session.create_tmp()
    session.run("sphinx-build", "-n", "-W", "--keep-going", "-b", "html", "docs", f"{target}/html")


@nox.session
def pages(session: nox.Session) -> None:
    """The embedded W&B's web pages in Chromium, which is installed if it is missing."""
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        session.run("apt-get", "update", "-q", external=True)
        session.run("apt-get", "install", "-q", "-y", "chromium", external=True)
    _install(session, "browser")
    session.run("pytest", "-m=browser", "tests/browser", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of what is installed; needs the network, unlike the tests' own list."""
    session.install(".[all]", "pip-audit")
    session.run("pip-audit", "--skip-editable", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """Run every example against an embedded W&B."""
    _install(session, "test")
    session.run("pytest", "tests/docs/test_examples.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare with the peers and the floor; fails if a figure is missed."""
    _install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)
