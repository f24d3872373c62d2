"""Entries are added to netrc and to settings files, and everything else there is unchanged."""

from __future__ import annotations

import configparser
import netrc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.config.ini import with_setting
from aiowandb.config.netrc import with_entry

NEW = "machine w.b:1\n  login user\n  password new\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", NEW),
        ("machine other login a password b", f"machine other login a password b\n{NEW}"),
        ("# mine\n\nmachine w.b:1\n  login x\n  password old\n", f"# mine\n\n{NEW}"),
        (
            'machine w.b:1 password "o l\\"d" login x machine other login a password b\n',
            f"machine other login a password b\n{NEW}",
        ),
        ("machine w.b:1 login old\n# a\nmachine w.b login a\n", f"# a\nmachine w.b login a\n{NEW}"),
        ("machine w.b:10 password p\n", f"machine w.b:10 password p\n{NEW}"),
        ("machine a password p\ndefault login d", f"machine a password p\n{NEW}default login d"),
        (f"{NEW}{NEW}", NEW),
    ],
)  # fmt: skip
def test_a_netrc_gets_one_entry_for_the_host(before: str, after: str) -> None:
    assert with_entry(before, "w.b:1", "new") == after


words = st.text(st.sampled_from("abm.:-1"), min_size=1, max_size=6)
entries = st.dictionaries(words, st.tuples(words, words), max_size=5)


@given(entries, st.sampled_from([" ", "\n", "\n\t"]), words)
def test_the_other_entries_of_a_netrc_stay(
    tmp_path_factory: pytest.TempPathFactory,
    others: dict[str, tuple[str, str]],
    gap: str,
    host: str,
) -> None:
    text = "".join(
        f"machine {name}{gap}login {login}{gap}password {password}{gap}"
        for name, (login, password) in others.items()
    )
    file = tmp_path_factory.getbasetemp() / "netrc"
    file.write_text(with_entry(text, host, "new"))
    found = {name: (login, key) for name, (login, _, key) in netrc.netrc(file).hosts.items()}
    assert found == others | {host: ("user", "new")}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[default]\nbase_url = http://new\n"),
        ("[other]\na = 1\n", "[other]\na = 1\n[default]\nbase_url = http://new\n"),
        (
            "# mine\n[default]\nentity = e\nbase_url: http://old\n[other]\nbase_url = its",
            "# mine\n[default]\nbase_url = http://new\nentity = e\n[other]\nbase_url = its\n",
        ),
    ],
)
def test_a_settings_file_gets_the_setting(before: str, after: str, tmp_path: Path) -> None:
    assert with_setting(before, "base_url", "http://new") == after
    parser = configparser.ConfigParser()
    parser.read_string(after)
    assert parser["default"]["base_url"] == "http://new"
