"""The command as a shell runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys


def aiowandb(
    *arguments: object, stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """What came of it; a traceback never does."""
    done = subprocess.run(
        [sys.executable, "-m", "aiowandb", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "120"} | environ,
    )
    assert "Traceback" not in done.stderr
    return done


# Lines that come every few seconds: whether there are some depends on the machine.
_ON_THE_WAY = re.compile(r"listing runs, |\w+: [\d,]+ of [\d,]+ runs|waiting: ")


def complaints(stderr: str) -> str:
    """What was said on stderr of the result, and not of the way to it."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not _ON_THE_WAY.match(line))
