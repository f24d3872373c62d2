"""The web pages of the embedded W&B, to which the links lead that the SDK prints.

Static files that query the server's own `/graphql`. A browser logs in with a one-time link or the
API key, and then has a cookie. Data of runs never becomes markup: the pages build their elements
from text, and the Content-Security-Policy allows only our own scripts and styles.
"""

from aiowandb_server.pages.login_links import LoginLinks
from aiowandb_server.pages.routes import page_routes
from aiowandb_server.pages.sessions import Sessions

__all__ = ["LoginLinks", "Sessions", "page_routes"]
