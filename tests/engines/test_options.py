"""Options of sources as engines pass them."""

from __future__ import annotations

import pytest

from aiowandb import UsageError
from aiowandb.engines.options import SourceOptions
from tests.engines.conftest import Project
from tests.readplan.world import PATH

WRONG = [
    ({}, "The option path is missing"),
    ({"path": "e/p", "kyes": "loss"}, "No option named 'kyes'; did you mean 'keys'?"),
    ({"path": "e/p", "parts": "many"}, "The option parts cannot be 'many'."),
    ({"path": "e/p", "live": "never"}, "An option has an invalid value"),
    ({"path": "e/p", "filters": "{"}, "The option filters cannot be '{'."),
    ({"path": "e/p", "API_KEY": "secret"}, "set WANDB_API_KEY in the process that plans"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_options_are_refused_by_name(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")) as caught:
        SourceOptions.parse(options)
    assert "secret" not in str(caught.value)


def test_options_are_text_in_any_case() -> None:
    options = SourceOptions.parse(
        {
            "path": "e/p",
            "keys": "loss, val.*",
            "exclude": '["a,b"]',
            "minStep": "3",
            "ANYKEY": "False",
            "parts": "8",
        }
    )
    assert options == SourceOptions(
        path="e/p",
        keys=("loss", "val.*"),
        exclude=("a,b",),
        min_step=3,
        any_key=False,
        parts=8,
    )


def test_rows_that_are_left_out_do_not_count_as_read(project: Project) -> None:
    every = SourceOptions(path=PATH, base_url=project.url).last_steps()
    in_files = SourceOptions(path=PATH, base_url=project.url, live="skip").last_steps()
    assert every["live"] == 29
    assert in_files == every | {"live": -1}
