"""The command as a shell runs it."""

from __future__ import annotations

import os
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
