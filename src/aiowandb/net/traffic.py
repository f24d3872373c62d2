"""What a session has sent and received: the numbers that users pay for."""

from __future__ import annotations

import msgspec


class Traffic(msgspec.Struct):
    """Counts since the session began. `requests` are those that W&B's limits count."""

    requests: int = 0
    downloads: int = 0
    received_bytes: int = 0
    refused: int = 0

    def since(self, earlier: Traffic) -> Traffic:
        """What came after `earlier`, a copy made with `copy.copy`."""
        return Traffic(
            requests=self.requests - earlier.requests,
            downloads=self.downloads - earlier.downloads,
            received_bytes=self.received_bytes - earlier.received_bytes,
            refused=self.refused - earlier.refused,
        )
