"""Runs scripts one after another with one client, and prints what each has printed.

    python run_scripts.py wandb|aiowandb SCRIPT...

One process for all of them: the official client takes seconds to start.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main(client: str, *scripts: str) -> None:
    for script in map(Path, scripts):
        said = StringIO()
        # All that a user of the official client has to change.
        text = script.read_text().replace("import wandb", f"import {client} as wandb")
        with redirect_stdout(said):
            try:
                exec(compile(text, script, "exec"), {"__name__": "__main__"})
            except Exception:
                traceback.print_exc(file=said)
        print(json.dumps([script.stem, said.getvalue()]))


main(*sys.argv[1:])
sys.stdout.flush()
if sys.argv[1] == "wandb":
    os._exit(0)  # for `ENDING`'s reason
