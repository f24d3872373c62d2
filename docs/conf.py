"""How the documentation is built. `nox -s docs` does it strictly: every warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path

import aiowandb

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "aiowandb"
author = "the aiowandb authors"
version = release = aiowandb.__version__

# No intersphinx: the build needs no network, here or in CI.
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click", "llms_txt", "public_api"]

exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"aiowandb {release}"
html_static_path: list[str] = []
html_theme_options = {
    "source_repository": "https://github.com/aiowandb/aiowandb/",
    "source_branch": "main",
    "source_directory": "docs/",
}
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# Options such as --local keep both of their dashes.
smartquotes = False
# In docstrings single backticks are code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# By its name, not by what it stands for: users need not know that it fits into a table.
autodoc_type_aliases = {"Int64": "Int64"}
# What these classes have is documented by their own projects.
_BASES = "Struct,MutableMapping,Mapping,Exception,Dataset"
autodoc_default_options = {"members": True, "undoc-members": True, "inherited-members": _BASES}
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90

nitpicky = True
# Types of other projects: what documents them is not in this build, and looking it up
# (intersphinx) would need the network. Our own names are never listed here.
_FOREIGN = [
    *("Any", "Callable", "Literal", "Path", "PathLike", "Self", "TracebackType", "datetime"),
    *("datetime.datetime", "httpx.AsyncBaseTransport", "os.PathLike", "pathlib.Path"),
    *("pa.RecordBatch", "pa.Table", "pd.DataFrame", "pl.DataFrame", "pyarrow.lib.RecordBatch"),
    "pyarrow.lib.Table",
    *("ssl.SSLContext", "types.TracebackType"),
    *("pl.LazyFrame", "pa.RecordBatchReader", "pyarrow.lib.RecordBatchReader"),
    *("pyarrow.lib.Schema", "pyarrow._compute.Expression", "pyarrow._dataset.Scanner"),
    "duckdb.DuckDBPyConnection",
    # `AsyncApi` or `Api`, whichever the face is.
    "Client",
]
_ABC = (
    *(
        "AsyncGenerator",
        "AsyncIterable",
        "AsyncIterator",
        "Awaitable",
        "Callable",
        "Collection",
        "Generator",
    ),
    *("Iterable", "Iterator", "Mapping", "MutableMapping", "Sequence"),
)
_FOREIGN += [*_ABC, *(f"collections.abc.{name}" for name in _ABC)]
nitpick_ignore = [("py:class", name) for name in _FOREIGN]
