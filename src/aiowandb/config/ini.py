"""W&B's settings files: INI files with a section `[default]`."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from aiowandb.config.text_files import read_text
from aiowandb.errors import UsageError
from aiowandb.user_warnings import warn

# These decide who can read the API key, or which file is replaced.
_OF_USER = frozenset({"insecure_disable_ssl", "http_proxy", "https_proxy", "credentials_file"})
_DEFAULT = re.compile(r"^\[default\]", re.MULTILINE)


def global_settings_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The settings file of this user."""
    home = Path(environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    return home / "settings"


class SettingsFiles(msgspec.Struct, frozen=True):
    """The settings in the file of the user, and in that of the working folder."""

    user: Mapping[str, str]
    folder: Mapping[str, str]
    # The file of the working folder, which may have come with somebody else's code.
    folder_path: Path

    def get(self, name: str) -> str | None:
        """The setting; the working folder takes precedence, except for what the user decides."""
        if name in _OF_USER:
            if name in self.folder:
                warn(
                    f"{self.folder_path} sets {name}, and is not followed, because it may have come"
                    f" with somebody else's code: to have it so, set WANDB_{name.upper()}.",
                    UserWarning,
                )
            return self.user.get(name)
        return self.folder.get(name, self.user.get(name))

    def key_for(self, is_there: Callable[[str | None], bool]) -> str | None:
        """The API key for W&B at the URLs that `is_there` accepts, None being the default URL.

        A key belongs to the URL in its own file: the working folder cannot send that of the user
        elsewhere.
        """
        user_url = self.user.get("base_url")
        for settings, url in ((self.folder, self.get("base_url")), (self.user, user_url)):
            if (key := settings.get("api_key")) and is_there(url):
                return key
        return None


def read_settings(environ: Mapping[str, str]) -> SettingsFiles:
    """Read both files, which need not exist."""
    root = Path(environ.get("WANDB_DIR") or ".")
    folder = ".wandb" if (root / ".wandb").is_dir() else "wandb"
    path = root / folder / "settings"
    return SettingsFiles(_read(global_settings_path(environ)), _read(path), path)


def _read(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path) or "")
    except (configparser.Error, UnicodeDecodeError):
        raise UsageError(f"Cannot read {path}: it is not an INI file.") from None
    return dict(parser["default"]) if parser.has_section("default") else {}


def with_setting(text: str, name: str, value: str) -> str:
    """The text of the file with this setting changed and everything else as it was."""
    lines = [*text.splitlines(), "[default]"] if not _DEFAULT.search(text) else text.splitlines()
    start = next(n for n, line in enumerate(lines) if _DEFAULT.match(line)) + 1
    inside = [n for n, line in enumerate(lines) if n >= start and line.startswith("[")]
    end = inside[0] if inside else len(lines)
    old = re.compile(rf"{re.escape(name)}\s*[=:]", re.IGNORECASE)
    kept = [line for line in lines[start:end] if not old.match(line)]
    return "\n".join([*lines[:start], f"{name} = {value}", *kept, *lines[end:], ""])
