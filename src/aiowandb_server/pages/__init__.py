"""Web pages over the embedded W&B: what is behind the links that the SDK prints.

Static files that ask the server's own `/graphql`. A browser is let in by a one-time link or by the
API key, and then has a cookie. Nothing that a run says ever becomes markup: the pages build their
elements from text, and the Content-Security-Policy allows no script and no style but our files.
"""

from aiowandb_server.pages.login_links import LoginLinks
from aiowandb_server.pages.routes import page_routes
from aiowandb_server.pages.sessions import Sessions

__all__ = ["LoginLinks", "Sessions", "page_routes"]
