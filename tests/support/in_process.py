"""Clients of an embedded W&B in this process, possibly behind a transport that interferes."""

from __future__ import annotations

from typing import Any

import httpx

from aiowandb import AsyncApi
from aiowandb.net.retry import RetryPolicy
from aiowandb_server import Store


def client_of(store: Store, transport: httpx.AsyncBaseTransport, **retry: Any) -> AsyncApi:
    """A client that retries without pauses; `retry` are other fields of its policy."""
    return AsyncApi(
        store.local_key,
        base_url="http://wandb.in-process",
        entity="local",
        transport=transport,
        retry=RetryPolicy(random=lambda: 0.0, **retry),
    )
