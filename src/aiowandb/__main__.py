"""`python -m aiowandb` and the `aiowandb` command."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from aiowandb.cli import main as run
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        print("The command line needs its extra: pip install 'aiowandb[cli]'", file=sys.stderr)
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
