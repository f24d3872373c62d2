"""Checksums of files: the digest that W&B announces, and the algorithm it was computed with.

Files of runs have MD5s. Those of an artifact have what its manifest says: MD5, or XXH128 where the
client that logged it was asked for it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Literal, Protocol, Self

import msgspec
import xxhash

Algorithm = Literal["MD5", "XXH128"]


class Hasher(Protocol):
    """Computes a digest, as those of hashlib do."""

    def update(self, data: bytes, /) -> object: ...

    def digest(self) -> bytes: ...


class Checksum(msgspec.Struct, frozen=True):
    """What the content of a file must have."""

    digest: bytes
    algorithm: Algorithm = "MD5"

    @classmethod
    def of(cls, text: str | None, algorithm: Algorithm = "MD5") -> Self | None:
        """The checksum, which W&B writes in base64 or in hex; None if there is none to check.

        >>> Checksum.of("1B2M2Y8AsgTpgAmY7PhCfg==").text
        'd41d8cd98f00b204e9800998ecf8427e'
        """
        try:
            text = text or ""
            is_hex = len(text) == 32
            found = bytes.fromhex(text) if is_hex else base64.b64decode(text, validate=True)
        except ValueError:
            return None
        return cls(found, algorithm) if len(found) == 16 else None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The checksum that `text` gave; None if there is none."""
        algorithm, _, digest = text.rpartition(":")
        return cls.of(digest, "XXH128" if algorithm else "MD5")

    @property
    def text(self) -> str:
        """In hex, with the algorithm if it is not MD5."""
        prefix = "" if self.algorithm == "MD5" else f"{self.algorithm.lower()}:"
        return f"{prefix}{self.digest.hex()}"


def new_hasher(algorithm: Algorithm) -> Hasher:
    """An empty hasher."""
    return hashlib.md5(usedforsecurity=False) if algorithm == "MD5" else xxhash.xxh128()
