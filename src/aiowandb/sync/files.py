"""`Files` and `File` without `await`."""

from __future__ import annotations

from datetime import datetime

from aiowandb import api
from aiowandb.sync.listing import Listed
from aiowandb.sync.wrapping import Shared, Twin, blocking


class File(Twin[api.File]):
    """A file at W&B.

    >>> path = run.file("model.h5").download("models")
    """

    id = Shared[str]()
    name = Shared[str]()
    url = Shared[str | None]()
    direct_url = Shared[str | None]()
    size = Shared[int]()
    md5 = Shared[str | None]()
    mimetype = Shared[str | None]()
    updated_at = Shared[datetime | None]()

    download = blocking(api.File.download)
    delete = blocking(api.File.delete)


class Files(Listed[api.Files, File]):
    """Files of a run or of an artifact. Nothing is sent until they are used.

    >>> for file in run.files(pattern="%.json"):
    ...     print(file.name, file.size)
    """

    _kind = File
    download = blocking(api.Files.download)
