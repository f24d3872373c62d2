"""The embedded W&B: a data folder, and an ASGI application that serves it with W&B's protocol.

Imports nothing from the client, so that neither can hide a mistake in the other: the tests check
both against the official SDK.
"""

try:
    from aiowandb_server.app import create_app
    from aiowandb_server.errors import DataFolderError, RequestError
    from aiowandb_server.origins import is_loopback
    from aiowandb_server.pages import LoginLinks
    from aiowandb_server.sample import SampleProject, build_sample
    from aiowandb_server.server import serve, serve_in_thread
    from aiowandb_server.store.history import HistoryMode
    from aiowandb_server.store.records import RunChanges
    from aiowandb_server.store.store import Store
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"The embedded W&B needs the package {error.name}, which is not installed:"
        " pip install 'aiowandb[local]'",
        name=error.name,
    ) from error

__all__ = [
    "DataFolderError",
    "HistoryMode",
    "LoginLinks",
    "RequestError",
    "RunChanges",
    "SampleProject",
    "Store",
    "build_sample",
    "create_app",
    "is_loopback",
    "serve",
    "serve_in_thread",
]
