"""W&B's settings files: INI files with a section `[default]`."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from pathlib import Path

from aiowandb.errors import UsageError

_DEFAULT = re.compile(r"^\[default\]", re.MULTILINE)


def global_settings_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The settings file of this user."""
    home = Path(environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    return home / "settings"


def read_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings in the files; that of the working folder takes precedence."""
    root = Path(environ.get("WANDB_DIR") or ".")
    folder = ".wandb" if (root / ".wandb").is_dir() else "wandb"
    found: dict[str, str] = {}
    for path in (global_settings_path(environ), root / folder / "settings"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path)
        except (configparser.Error, UnicodeDecodeError):
            raise UsageError(f"Cannot read {path}: it is not an INI file.") from None
        if parser.has_section("default"):
            found.update(parser["default"])
    return found


def with_setting(text: str, name: str, value: str) -> str:
    """The text of the file with this setting changed and everything else as it was."""
    lines = [*text.splitlines(), "[default]"] if not _DEFAULT.search(text) else text.splitlines()
    start = next(n for n, line in enumerate(lines) if _DEFAULT.match(line)) + 1
    inside = [n for n, line in enumerate(lines) if n >= start and line.startswith("[")]
    end = inside[0] if inside else len(lines)
    old = re.compile(rf"{re.escape(name)}\s*[=:]", re.IGNORECASE)
    kept = [line for line in lines[start:end] if not old.match(line)]
    return "\n".join([*lines[:start], f"{name} = {value}", *kept, *lines[end:], ""])
