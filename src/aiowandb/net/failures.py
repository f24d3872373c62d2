"""What a failed connection means: the error for the user, and whether it may pass."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import httpx

from aiowandb.errors import CommError, ConnectError, TimeoutError

_OWN_AUTHORITY = (
    "If your own authority issued it, set SSL_CERT_FILE to a file with all certificates to trust,"
    " or pass an ssl.SSLContext in verify=."
)
_CLIENT_CERTIFICATE = (
    "it wants a certificate of the client: pass an ssl.SSLContext with one (load_cert_chain) in"
    " verify="
)
# OpenSSL's numbers of what is wrong with a certificate.
_TIMES = frozenset({9, 10})
_NAMES = frozenset({62, 63, 64})
# What OpenSSL calls it, if the other side speaks TLS differently, or not at all.
_PROTOCOL_PROBLEMS = {
    "it does not speak TLS on this port, so its URL may begin with http://": (
        "HTTP_REQUEST",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "UNKNOWN_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    ),
    "it supports no version of TLS that is safe: at least 1.2 is needed": (
        "NO_PROTOCOLS_AVAILABLE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
    ),
    _CLIENT_CERTIFICATE: (
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_UNKNOWN_CA",
    ),
}
_MEANINGS = {reason: text for text, reasons in _PROTOCOL_PROBLEMS.items() for reason in reasons}
_CLOSED_IN_HANDSHAKE = "it closed the connection during the TLS handshake"
# Some texts quote what the server sent.
_LONGEST = 500
# Python names its source file.
_SOURCE = re.compile(r" ?\(_ssl\.c:\d+\)")


def host_of(error: httpx.RequestError, default: str) -> str:
    """The host that the request was for."""
    try:
        return error.request.url.netloc.decode()
    except RuntimeError:  # it was raised while a response was read
        return default


def failure_of(
    error: httpx.TransportError, operation: str, host: str, *, was_answered: bool
) -> tuple[CommError, bool]:
    """The error for a failed connection, and whether the next attempt may succeed.

    `was_answered` is whether the host has answered before: then it is not the wrong port.
    """
    cause = _tls_error(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = _certificate_problem(cause)
        return ConnectError(
            f"The certificate of {host} was not accepted: {why}", error, operation=operation
        ), False
    if meaning := _MEANINGS.get(cause.reason if cause else ""):
        is_final = not was_answered or meaning == _CLIENT_CERTIFICATE
        text = f"Could not connect to {host}: {meaning}."
        return ConnectError(text, error, operation=operation), not is_final
    if isinstance(error, httpx.ProxyError) and str(error).startswith("407"):
        text = (
            "The proxy does not accept the request without other credentials: write them as"
            " http://user:password@proxy, or as Proxy-Authorization in headers=."
        )
        return ConnectError(text, error, operation=operation), False
    if isinstance(error, httpx.ConnectTimeout):
        text = f"{operation}: {host} did not accept a connection in time."
        return TimeoutError(text, error, operation=operation), True
    if isinstance(error, httpx.TimeoutException):
        text = f"{operation}: {host} did not answer in time."
        return TimeoutError(text, error, operation=operation), True
    if isinstance(error, httpx.ConnectError):
        text = f"Could not connect to {host}: {_reason(error, cause)}."
        return ConnectError(text, error, operation=operation), True
    text = f"{operation}: the connection broke: {_reason(error, cause)}{_where(operation, host)}."
    return CommError(text, error, operation=operation), True


def _certificate_problem(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with it, and what to do."""
    what = error.verify_message.rstrip(".")
    if error.verify_code in _TIMES:
        today = datetime.now(UTC)
        return f"{what}. It has to be renewed, or this computer's date is wrong: {today:%Y-%m-%d}."
    if error.verify_code in _NAMES:
        return f"{what}. Check the URL; a proxy may also answer in the place of the server."
    return f"{what}. {_OWN_AUTHORITY}"


def _reason(error: httpx.TransportError, cause: ssl.SSLError | None) -> str:
    """The first text in the chain of causes: some libraries raise errors without one."""
    is_handshake = _is_encrypted(error) and isinstance(error, httpx.ConnectError)
    if is_handshake and isinstance(cause, ssl.SSLEOFError):
        return _CLOSED_IN_HANDSHAKE
    for each in _chain(error):
        if text := _SOURCE.sub("", str(each)).strip().rstrip("."):
            return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return _CLOSED_IN_HANDSHAKE if is_handshake else "the server closed it"


def _is_encrypted(error: httpx.RequestError) -> bool:
    with suppress(RuntimeError):
        return error.request.url.scheme == "https"
    return False


def _where(operation: str, host: str) -> str:
    """The host, unless the name of the operation has it."""
    return "" if "://" in operation else f" (to {host})"


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    return next((each for each in _chain(error) if isinstance(each, ssl.SSLError)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes."""
    seen: set[int] = set()
    while error and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
