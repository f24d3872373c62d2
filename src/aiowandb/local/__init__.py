"""The embedded W&B: a data folder and an ASGI application that speaks W&B's protocol over it.

Shares no code with the client (it may import `aiowandb.errors` only), so that neither can hide a
mistake of the other: what holds them together is the real SDK, which the tests put against both.
"""

from aiowandb.errors import extra_needed

with extra_needed("local", "The embedded W&B"):
    from aiowandb.local.app import create_app
    from aiowandb.local.sample import SampleProject, build_sample
    from aiowandb.local.server import serve, serve_in_thread
    from aiowandb.local.store.records import RunChanges
    from aiowandb.local.store.store import Store

__all__ = [
    "RunChanges",
    "SampleProject",
    "Store",
    "build_sample",
    "create_app",
    "serve",
    "serve_in_thread",
]
