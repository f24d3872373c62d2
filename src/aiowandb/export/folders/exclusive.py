"""Objects that are made only if there are none of their names: what a lease and a log need.

The stores of Amazon, Google and Microsoft offer it (`If-None-Match: *`), and those that
speak like them mostly do. pyarrow cannot ask for it; obstore can, and some of fsspec's
file systems.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from pyarrow import fs

from aiowandb.redaction import hide_secrets

if TYPE_CHECKING:
    from obstore.store import ClientConfig, GCSConfig, ObjectStore, RetryConfig, S3Config

# So long that a slow line carries the largest request, yet no longer than a lease is trusted.
_RETRY: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=45)}
_TIMEOUT = timedelta(seconds=120)
_MOST_PARTS = 9_000  # S3 takes 10,000
_LEAST_PART = 8 << 20
_PARTS_AT_ONCE = 4
# Those file systems of fsspec that hand the condition on to the store.
_CONDITIONAL = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
_logger = logging.getLogger(__name__)


class Exclusive(Protocol):
    """Makes objects, named by their path in the file system, under a condition."""

    def create(self, path: str, content: bytes) -> bool:
        """Make an object unless there is one; say whether it was made."""
        ...

    def upload(self, path: str, draft: Path) -> bool:
        """Let a copy of the file appear, if this can be done here so that no half of it does."""
        ...


class FsspecExclusive:
    """By the `mode` of fsspec."""

    def __init__(self, filesystem: Any) -> None:
        self._fs = filesystem

    def create(self, path: str, content: bytes) -> bool:
        try:
            self._fs.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        return True

    def upload(self, path: str, draft: Path) -> bool:  # noqa: ARG002
        return False


class ObstoreExclusive:
    """By obstore, in one bucket or container."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def create(self, path: str, content: bytes) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with _os_errors():
            try:
                obstore.put(self._store, _key(path), content, mode="create")
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def upload(self, path: str, draft: Path) -> bool:
        import obstore

        part = max(_LEAST_PART, draft.stat().st_size // _MOST_PARTS)
        with _os_errors():
            obstore.put(
                self._store, _key(path), draft, chunk_size=part, max_concurrency=_PARTS_AT_ONCE
            )
        return True


def exclusive_in(filesystem: Any) -> Exclusive | None:
    """How to make objects under a condition in a file system of fsspec, if it is known to work."""
    protocol = getattr(filesystem, "protocol", ())
    protocols = {protocol} if isinstance(protocol, str) else set(protocol)
    pipe = getattr(filesystem, "_pipe_file", None) or getattr(filesystem, "pipe_file", None)
    if pipe is None or not protocols & _CONDITIONAL:
        return None
    return FsspecExclusive(filesystem) if "mode" in inspect.signature(pipe).parameters else None


def exclusive_at(url: str, filesystem: fs.FileSystem) -> Exclusive | None:
    """How to make objects under a condition where the URL leads, if obstore is there and can."""
    parts = urlsplit(url)
    try:
        store = _store(parts, filesystem)
    except ModuleNotFoundError:
        return None
    except Exception as error:
        # It is an extra: what pyarrow can reach is exported into in any case.
        _logger.debug(
            "obstore does not open %s://%s: %s",
            parts.scheme,
            parts.hostname,
            hide_secrets(str(error), url),
        )
        return None
    return ObstoreExclusive(store) if store else None


def _store(parts: SplitResult, filesystem: fs.FileSystem) -> ObjectStore | None:
    from obstore.store import AzureStore, GCSStore, S3Store

    said = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    endpoint = said.get("endpoint_override")
    endpoint = endpoint and f"{said.get('scheme', 'https')}://{endpoint}"
    is_plain = (endpoint or os.environ.get("AWS_ENDPOINT_URL", "")).startswith("http:")
    client: ClientConfig = {"timeout": _TIMEOUT, "allow_http": is_plain}
    bucket = parts.hostname or ""
    if parts.scheme == "s3":
        config = _s3_config(parts, said, filesystem)
        if endpoint:
            config["endpoint"] = endpoint
        return S3Store(bucket, config=config, client_options=client, retry_config=_RETRY)
    if parts.scheme in ("gs", "gcs") and parts.username != "anonymous":
        google: GCSConfig = {"base_url": endpoint} if endpoint else {}
        return GCSStore(bucket, config=google, client_options=client, retry_config=_RETRY)
    if parts.scheme in ("abfs", "abfss") and parts.username and not parts.query:
        place = f"{parts.scheme}://{parts.netloc}"
        return AzureStore.from_url(place, client_options=client, retry_config=_RETRY)
    return None


def _s3_config(parts: SplitResult, said: dict[str, str], filesystem: fs.FileSystem) -> S3Config:
    """What the URL says as pyarrow reads it, else what Amazon's own tools would use."""
    config: S3Config = {}
    if parts.username and parts.password:
        config["access_key_id"] = unquote(parts.username)
        config["secret_access_key"] = unquote(parts.password)
    elif "AWS_ACCESS_KEY_ID" not in os.environ:
        config.update(_profile())
    if region := getattr(filesystem, "region", None) or said.get("region"):
        config["region"] = region
    if said.get("force_virtual_addressing", "").lower() in ("true", "1"):
        config["virtual_hosted_style_request"] = True
    return config


def _profile() -> S3Config:
    """The keys of the profile in use in the file of credentials, which obstore does not read."""
    place = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    file = ConfigParser(interpolation=None)
    try:
        file.read(Path(place).expanduser())
        profile = file[os.environ.get("AWS_PROFILE") or "default"]
        found: S3Config = {
            "access_key_id": profile["aws_access_key_id"],
            "secret_access_key": profile["aws_secret_access_key"],
        }
    except (ConfigError, KeyError, OSError, UnicodeDecodeError):
        return {}
    if token := profile.get("aws_session_token"):
        found["session_token"] = token
    return found


def _key(path: str) -> str:
    """The path without the bucket or container."""
    return path.partition("/")[2]


@contextmanager
def _os_errors() -> Iterator[None]:
    """obstore's errors as those of the operating system, as pyarrow's are."""
    from obstore.exceptions import BaseError

    try:
        yield
    except BaseError as error:
        raise OSError(str(error).splitlines()[0]) from error
