"""`python -m aiowandb` and the `aiowandb` command."""

import os
import sys


def main() -> None:
    try:
        import signal

        interrupts = signal.getsignal(signal.SIGINT)
        # Where Ctrl-C would raise KeyboardInterrupt, have it end the process instead: what is being
        # imported shows a traceback, or takes the exception for a module that is missing.
        raises = interrupts is signal.default_int_handler
        if raises:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:  # the import takes a few milliseconds
        os._exit(130)
    try:
        from aiowandb.cli import main as run
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        print("The command line needs its extra: pip install 'aiowandb[cli]'", file=sys.stderr)
        sys.exit(2)
    if raises:
        signal.signal(signal.SIGINT, interrupts)
    try:
        run()
    finally:
        if raises:  # the same while Python ends
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
