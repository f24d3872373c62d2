"""Job files say what `aiowandb export` exports; `--print-job` writes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiowandb import AsyncApi, Runs
from aiowandb.choices import Format, Layout, Nan, OnDeleted, Split, What
from aiowandb.cli import cli, job_files
from aiowandb.cli.export_jobs import ExportJob
from aiowandb.cli.job_files import job_text, read_job
from aiowandb.errors import UsageError
from tests.api.test_project_exports import fill
from tests.cli.test_export_many import Command
from tests.support.shell import aiowandb, complaints

# Any text but what no system takes: a NUL character, and halves of surrogate pairs.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
# Lists of keys are split at commas, and blanks around them do not count.
NAMES = st.lists(TEXT.filter(lambda name: name == name.strip() and name[-1] != "\\"), max_size=3)
SOME = st.lists(TEXT, max_size=3).map(tuple)


def of(words: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(get_args(words))


JOBS = st.builds(
    ExportJob,
    projects=st.lists(TEXT, min_size=1, max_size=3).map(tuple),
    target=TEXT,
    include_projects=SOME,
    exclude_projects=SOME,
    base_url=st.none() | st.sampled_from(["https://api.wandb.ai", "http://localhost:8080"]),
    filter=st.sampled_from(["", 'tag == "best"', "config.lr > 0.1", '{"state": "it\'s"}', "{}"]),
    order=st.sampled_from(["-created_at", "+config.lr", "+summary.a"]),
    runs=SOME,
    since=st.none() | st.datetimes(datetime(1, 1, 1), datetime(9999, 1, 1)),
    format=of(Format),
    what=st.lists(of(What), unique=True).map(tuple),
    keys=NAMES.map(tuple),
    exclude=SOME,
    min_step=st.none() | st.integers(0, 2**63 - 1),
    max_step=st.none() | st.integers(0, 2**63 - 1),
    samples=st.none() | st.integers(1, 2**63 - 1),
    layout=of(Layout),
    split=st.none() | of(Split),
    safe_csv=st.booleans(),
    on_deleted=of(OnDeleted),
    nan=st.none() | of(Nan),
    overwrite=st.booleans(),
    repair=st.booleans(),
)


def options(job: ExportJob) -> list[str]:
    """The command line of a job."""
    line = []
    for name in job.__struct_fields__[2:]:
        value = getattr(job, name)
        option = {"runs": "run", "include_projects": "include-project"}.get(name, name)
        option = "--" + {"exclude_projects": "exclude-project"}.get(name, option).replace("_", "-")
        if isinstance(value, datetime):
            line.append(f"{option}={value.isoformat(timespec='seconds')}")
        elif isinstance(value, tuple):
            texts = (each.replace(",", "\\,") if name == "keys" else each for each in value)
            line += [f"{option}={text}" for text in texts]
        elif isinstance(value, bool):
            line += [option] * value
        elif value is not None:
            line.append(f"{option}={value}")
    return [*line, "--", *job.projects, job.target]


@given(job=JOBS)
def test_a_job_that_is_written_is_read_as_it_was(
    job: ExportJob, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "job.toml"
    file.write_text(job_text(job), encoding="utf-8", newline="")
    assert read_job(file) == job


@settings(max_examples=25)
@given(job=JOBS)
def test_the_printed_job_of_a_command_line_is_the_same_export(
    job: ExportJob, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if job.since:
        job = msgspec.structs.replace(job, since=job.since.replace(microsecond=0))
    file = tmp_path_factory.getbasetemp() / "printed.toml"
    done = aiowandb("export", "--print-job", *options(job))
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    file.write_text(done.stdout, encoding="utf-8", newline="")
    assert read_job(file) == job
    again = aiowandb("export", "--job", file, "--print-job")
    assert again.stdout == done.stdout


def test_a_job_is_short_and_readable() -> None:
    job = ExportJob(
        projects=("me/*",),
        target="backup",
        filter='tag == "best"',
        since=datetime(2026, 1, 31),
        what=("runs", "files"),
        safe_csv=True,
        samples=5,
    )
    assert job_text(job).splitlines()[1:] == [
        'projects = ["me/*"]',
        'target = "backup"',
        "filter = 'tag == \"best\"'",
        "since = 2026-01-31T00:00:00",
        'what = ["runs", "files"]',
        "samples = 5",
        "safe_csv = true",
    ]


@pytest.fixture
def job_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "job.toml"
        file.write_text(text)
        return file

    return write


HEAD = 'projects = ["a/b"]\ntarget = "out"\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f'{HEAD}\nfromat = "csv"', "line 4: there is no key 'fromat'; did you mean 'format'?"),
        (f"{HEAD}min-step = 3", "line 3: there is no key 'min-step'; did you mean 'min_step'?"),
        (f"{HEAD}[export]\nx = 1", "line 3: there is no key 'export'"),
        (f'{HEAD}format = "parket"', "line 3: format must be one of parquet, "),
        (f'{HEAD}format = "parket"', "did you mean 'parquet'?"),
        (f'{HEAD}what = ["runs", "histroy"]', "line 3: what must be a list of some of "),
        (f'{HEAD}what = ["runs", "histroy"]', "did you mean 'history'?"),
        (f'{HEAD}what = "runs"', "write ['runs']"),
        (f"{HEAD}samples = 0", "line 3: samples must be a whole number and at least 1, "),
        (f"{HEAD}overwrite = 1", "line 3: overwrite must be True or False, "),
        (f'{HEAD}since = "2026-01-31"', "line 3: since must be a date like 2026-01-31 "),
        (f'{HEAD}since = "2026-01-31"', "write it without quotes"),
        (
            f'{HEAD}filter = "config.lr = 3"',
            "line 3: filter: Filter 'config.lr = 3', column 11: ",
        ),
        (f'{HEAD}order = "+crated_at"', "line 3: order: runs have no column 'crated_at'"),
        (f'{HEAD}base_url = "x"', "line 3: base_url: 'x' is not a base URL"),
        (f"{HEAD}keys = [1]", "line 3: keys must be specified in a list of strings"),
        ('projects = "a/*"', "line 1: projects must be specified in a list of strings"),
        ('projects = "a/*"', "write ['a/*']"),
        ("projects = []", "line 1: projects must be a list like"),
        (f"{HEAD}x = [", "is not valid TOML: "),
        (HEAD + 'format = "csv\n', "(at line 3, column"),
        ('target = "out"', "has no projects"),
        ("", "has no projects, target"),
    ],
)
def test_what_is_wrong_in_a_job_is_said_with_its_line(
    job_file: Callable[[str], Path], content: str, said: str
) -> None:
    file = job_file(content)
    with pytest.raises(UsageError) as caught:
        read_job(file)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(file))
    done = aiowandb("export", "--job", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr


def test_other_ways_to_write_values_are_understood(job_file: Callable[[str], Path]) -> None:
    job = read_job(job_file(f'{HEAD}since = 2026-01-31\nfilter = {{state = "finished"}}'))
    assert job.since == datetime(2026, 1, 31)
    assert job.filter == '{"state":"finished"}'
    shifted = read_job(job_file(f"{HEAD}since = 2026-01-31T01:00:00+03:00"))
    assert shifted.since == datetime(2026, 1, 30, 22)


def test_a_job_that_is_missing_is_named(tmp_path: Path) -> None:
    done = aiowandb("export", "--job", tmp_path / "job.toml")
    assert done.returncode == 2
    assert f"{tmp_path / 'job.toml'} cannot be read: No such file or directory." in done.stderr


def test_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="is not valid UTF-8"):
        read_job(file)


def test_options_and_a_job_do_not_mix(job_file: Callable[[str], Path]) -> None:
    file = job_file(HEAD)
    for option in ("--format=csv", "--order=+created_at", "--overwrite", "more"):
        done = aiowandb("export", "--job", file, option)
        assert done.returncode == 2
        assert f"write it into {file}" in done.stderr


def test_a_job_is_run(
    tmp_path: Path, new_folder: Callable[[Path], Path], job_file: Callable[[str], Path]
) -> None:
    from aiowandb_server import Store

    with Store.open(new_folder(tmp_path / "wandb")) as store:
        fill(store, "a", "b")
    out = tmp_path / "out"
    export = Command(tmp_path / "wandb", out)
    one = f'projects = ["a"]\ntarget = "{out}/one"\nformat = "csv"\n'
    done = export("--job", job_file(one))
    assert done.returncode == 0
    assert (out / "one" / "history.csv").exists()
    many = f'projects = ["local/*"]\ntarget = "{out}/many"\nwhat = ["runs"]\n'
    planned = export("--job", job_file(many), "--plan")
    assert (planned.returncode, (out / "many").exists()) == (0, False)
    done = export("--job", job_file(many), "--quiet")
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert (out / "many" / "local" / "b" / "runs.parquet").exists()


def test_every_option_of_an_export_can_be_in_a_job_and_is_passed_on() -> None:
    fields = {*ExportJob.__struct_fields__}
    assert {*job_files._CHECKS} == fields
    assert {param.name for param in cli.commands["export"].params} - fields == {
        # The job has the text of the filter.
        *("filters", "job_file", "print_job", "only_plan", "as_json", "quiet")
    }
    job = ExportJob(projects=("a",), target="b")
    elsewhere = {"self", "target", "filesystem", "on_event", "repair"}
    of_one = {*inspect.signature(Runs.export).parameters}
    assert {*job.arguments()} == of_one - elsewhere
    assert {*inspect.signature(Runs.plan_export).parameters} == of_one - {"repair", "on_event"}
    of_many = {*inspect.signature(AsyncApi.export_projects).parameters}
    assert of_one <= of_many
    beside = {"paths", "filters", "order", "include_projects", "exclude_projects", "plan"}
    assert of_many - of_one == beside
