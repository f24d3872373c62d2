"""How an interrupted command ends: soon, by Ctrl-C and by SIGTERM.

Schedulers and containers send SIGTERM. As after Ctrl-C, what is finished is kept, and neither
leases nor temporary files are left behind.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_INTERRUPTED, _TERMINATED = 130, 143
# Threads that are about to end do so within microseconds.
_PATIENCE_S = 1.0


@contextmanager
def terminable() -> Iterator[None]:
    """Interrupt the block at SIGTERM. The exit code of an interrupted command is then 143."""
    is_terminated = False

    def terminate(_number: int, frame: FrameType | None) -> None:
        nonlocal is_terminated
        is_terminated = True
        interrupt = signal.getsignal(signal.SIGINT)
        if callable(interrupt):
            interrupt(signal.SIGINT, frame)

    is_ours = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if is_ours:
        signal.signal(signal.SIGTERM, terminate)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and sys.platform != "win32":
        # So it is in background jobs of scripts. Event loops only take SIGINT if Python does.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            end.code = _TERMINATED if is_terminated else _INTERRUPTED
            _leave_threads(end.code)
        raise
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave_threads(code: int) -> None:
    """End now if threads go on. Python would wait for them, and they for ever for an event loop
    that a second Ctrl-C has ended."""
    others = [thread for thread in threading.enumerate() if not thread.daemon]
    others.remove(threading.main_thread())
    for thread in others:
        thread.join(_PATIENCE_S)
    if any(thread.is_alive() for thread in others):
        os._exit(code)
