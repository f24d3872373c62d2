"""`verify()` without `await`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiowandb.api import verifying
from aiowandb.arguments import shown
from aiowandb.concurrency.portal import Portal
from aiowandb.errors import UsageError
from aiowandb.sync.facade import Api

if TYPE_CHECKING:
    from aiowandb.verification import Verification, VerifyProgress


@wraps(verifying.verify, assigned=("__doc__",), updated=())
def verify(
    folder: str | Path,
    *,
    api: Api | None = None,
    offline: bool = False,
    filesystem: Any = None,
    on_progress: Callable[[VerifyProgress], object] | None = None,
) -> Verification:
    if api is not None and not isinstance(api, Api):
        raise UsageError(f"api must be an Api, or None, not {shown(api)}.")
    with ExitStack() as stack:
        if api is None:
            portal = Portal()
            stack.callback(portal.close)
        else:
            portal = api._portal
        return portal.call(
            verifying.verify,
            folder,
            api=api._inner if api else None,
            offline=offline,
            filesystem=filesystem,
            on_progress=on_progress,
        )
