"""Creates objects only if they do not exist, which leases and logs need.

The stores of Amazon, Google and Microsoft support this (`If-None-Match: *`), and so do most
compatible ones. pyarrow has no API for it; obstore does, and some of fsspec's file systems.
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

# Long enough to send the largest request over a slow line, but shorter than a lease is trusted.
_RETRY: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=45)}
_TIMEOUT = timedelta(seconds=120)
_MOST_PARTS = 9_000  # S3 takes 10,000
_LEAST_PART = 8 << 20
_PARTS_AT_ONCE = 4
# The file systems of fsspec that pass the condition on to the store.
_CONDITIONAL = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
_logger = logging.getLogger(__name__)


class Exclusive(Protocol):
    """Creates objects conditionally; they are named by their path in the file system."""

    def create(self, path: str, content: bytes) -> bool:
        """Create the object unless it exists; returns whether it was created."""
        ...

    def upload(self, path: str, draft: Path) -> bool:
        """Upload a copy of the file, if this is atomic here; returns whether it was uploaded."""
        ...


class FsspecExclusive:
    """Uses the `mode` argument of fsspec."""

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
    """Uses obstore, in one bucket or container."""

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
    """Creates objects in a file system of fsspec, or None if that may ignore the condition."""
    protocol = getattr(filesystem, "protocol", ())
    protocols = {protocol} if isinstance(protocol, str) else set(protocol)
    pipe = getattr(filesystem, "_pipe_file", None) or getattr(filesystem, "pipe_file", None)
    if pipe is None or not protocols & _CONDITIONAL:
        return None
    return FsspecExclusive(filesystem) if "mode" in inspect.signature(pipe).parameters else None


def exclusive_at(url: str, filesystem: fs.FileSystem) -> Exclusive | None:
    """Creates objects at the URL; None if obstore is not installed or does not support it."""
    parts = urlsplit(url)
    try:
        store = _store(parts, filesystem)
    except ModuleNotFoundError:
        return None
    except Exception as error:
        # Not required: an export works with pyarrow alone.
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

    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    endpoint = options.get("endpoint_override")
    endpoint = endpoint and f"{options.get('scheme', 'https')}://{endpoint}"
    is_plain = (endpoint or os.environ.get("AWS_ENDPOINT_URL", "")).startswith("http:")
    client: ClientConfig = {"timeout": _TIMEOUT, "allow_http": is_plain}
    bucket = parts.hostname or ""
    if parts.scheme == "s3":
        config = _s3_config(parts, options, filesystem)
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


def _s3_config(parts: SplitResult, options: dict[str, str], filesystem: fs.FileSystem) -> S3Config:
    """The settings in the URL as pyarrow reads them, otherwise those of Amazon's tools."""
    config: S3Config = {}
    if parts.username and parts.password:
        config["access_key_id"] = unquote(parts.username)
        config["secret_access_key"] = unquote(parts.password)
    elif "AWS_ACCESS_KEY_ID" not in os.environ:
        config.update(_profile())
    if region := getattr(filesystem, "region", None) or options.get("region"):
        config["region"] = region
    if options.get("force_virtual_addressing", "").lower() in ("true", "1"):
        config["virtual_hosted_style_request"] = True
    return config


def _profile() -> S3Config:
    """The keys of the current profile in the credentials file, which obstore does not read."""
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
    """Raise obstore's errors as an OSError, like those of pyarrow."""
    from obstore.exceptions import BaseError

    try:
        yield
    except BaseError as error:
        raise OSError(str(error).splitlines()[0]) from error
