"""The netrc file that W&B's tools share, with the API keys of hosts."""

from __future__ import annotations

import netrc
import os
import re
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from aiowandb.config.text_files import check_kind, check_size
from aiowandb.errors import UsageError

_MEMBER = "(?:login|user|account|password)"
_DEFAULT = re.compile(r"^default(?!\S)", re.MULTILINE)


def netrc_path(environ: Mapping[str, str] = os.environ) -> Path:
    """$NETRC, else ~/.netrc, else ~/_netrc."""
    if named := environ.get("NETRC"):
        return Path(named).expanduser()
    usual, other = Path.home() / ".netrc", Path.home() / "_netrc"
    return other if other.exists() and not usual.exists() else usual


def netrc_password(path: Path, host: str) -> str | None:
    """The password for the host; an error if other users can read it in the file."""
    try:
        known = path.stat()
        if stat.S_ISCHR(known.st_mode):  # such as /dev/null; others never end
            return None
        check_kind(path, known.st_mode)
        check_size(path, known.st_size)
        found = netrc.netrc(path).authenticators(host)
        others_read = os.name == "posix" and known.st_mode & (stat.S_IRGRP | stat.S_IROTH)
    except FileNotFoundError:
        return None
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
        # The parser's message has the line with the error, which may be the one with the key.
        reason = error.strerror if isinstance(error, OSError) else "it is not in netrc's format"
        raise UsageError(f"Cannot read {path}: {reason}.") from None
    if found is None:
        return None
    if others_read:
        raise UsageError(
            f"{path} has a key for {host}, and other users can read it. To prevent that, run:"
            f" chmod 600 {shlex.quote(str(path))}"
        )
    return found[2] or None


def with_entry(text: str, host: str, password: str) -> str:
    """The text of the file with this entry for the host and everything else as it was."""
    value = r'(?:"(?:[^"\\]|\\.)*"|\S+)'
    old = rf'(?<!\S)machine\s+"?{re.escape(host)}"?(?!\S)(?:\s+{_MEMBER}\s+{value})*[^\S\n]*\n?'
    text = re.sub(old, "", text)
    default = _DEFAULT.search(text)  # applies to hosts that are not named before it
    end = default.start() if default else len(text)
    before = text[:end] + ("\n" if text[:end] and not text[:end].endswith("\n") else "")
    return f"{before}machine {host}\n  login user\n  password {password}\n{text[end:]}"
