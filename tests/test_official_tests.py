"""The script that runs the official client's tests finds them, serves them and counts them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from benchmarks import official_tests
from benchmarks.official_tests import FileScore, Score, main, read_score, run_tests, updated

# As their tests do it: the tool says where to connect, and a user is made whose name is the key.
_CHECKOUT = """
import json, subprocess, sys, urllib.request
import pytest

def post(port, path, body, **headers):
    request = urllib.request.Request(
        f"http://localhost:{port}/{path}", json.dumps(body).encode(),
        {"content-type": "application/json", **headers},
    )
    with urllib.request.urlopen(request) as response:
        return response.read()

@pytest.fixture
def ports():
    tool = [sys.executable, "tools/local_wandb_server.py", "connect", "--name=x"]
    return json.loads(subprocess.run(tool, stdout=subprocess.PIPE, check=True).stdout)

def test_the_viewer_is_the_user(ports):
    from base64 import b64encode
    name = "user_" + "0123456789" * 4
    post(ports["fixture_port"], "db/user", {"command": "up", "username": name, "admin": False})
    team = {"team": {"name": "ants"}}
    made = {"command": "up", "username": name, "fixtureData": team}
    post(ports["fixture_port"], "db/team", made)
    key = b64encode(f"api:{name}".encode()).decode()
    asked = {"query": "{ viewer { username teams { edges { node { name } } } } }"}
    answer = json.loads(post(ports["base_port"], "graphql", asked, authorization=f"Basic {key}"))
    assert answer["data"]["viewer"]["username"] == name
    assert "ants" in json.dumps(answer)

def test_organizations(ports):
    raise ValueError("there are none | none at all")

def test_skipped():
    pytest.skip("not here")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "wandb" / "tests" / "system_tests" / "test_core"
    folder.mkdir(parents=True)
    (folder / "test_one.py").write_text(_CHECKOUT)
    (folder / "test_two.py").write_text("import no_such_module")
    (tmp_path / "wandb" / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return tmp_path / "wandb"


@pytest.mark.slow
def test_tests_are_counted_by_file_with_the_reasons_of_failures(checkout: Path) -> None:
    pytest.importorskip("wandb")
    score = run_tests(checkout, Path(sys.executable), ["test_core"], ["-p", "no:cacheprovider"])
    assert score.version
    assert score.files == [
        FileScore(
            "test_core/test_one.py",
            passed=1,
            skipped=1,
            failed={"test_organizations": "ValueError: there are none / none at all"},
        ),
        FileScore(
            "test_core/test_two.py",
            passed=0,
            skipped=0,
            failed={"test_core.test_two": "needs no_such_module"},
        ),
    ]
    assert (score.passed, score.ran) == (1, 3)


def test_without_sources_it_says_how_to_get_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for arguments in ([], [str(tmp_path)], [str(tmp_path), "--python", sys.executable]):
        monkeypatch.setattr(sys, "argv", [official_tests.__file__, *arguments])
        assert main() == 2
        assert "git clone" in capsys.readouterr().out


def test_files_that_run_again_replace_their_score() -> None:
    first, second = FileScore("test_a.py", 1, 0, {"test_x": "?"}), FileScore("test_b.py", 3, 0, {})
    again = FileScore("test_a.py", 2, 0, {})
    score = updated(Score("1.0", [first, second]), Score("1.0", [again]))
    assert score.files == [again, second]
    with pytest.raises(SystemExit, match="run all tests first"):
        updated(score, Score("1.1", [again]))


def test_the_published_score_has_a_reason_for_each_failure() -> None:
    reasons = {why for file in read_score().files for why in file.failed.values()}
    assert reasons == {"needs the internet", "no organizations"}
