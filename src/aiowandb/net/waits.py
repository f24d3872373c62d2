"""Who keeps a session waiting: every retry and every pause, for whoever wants to know."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

log = logging.getLogger("aiowandb.net")

# An answer may take this long without anybody wondering.
_USUAL_S = 3.0


class Waiting(msgspec.Struct, frozen=True, tag_field="event", tag="waiting"):
    """Something is waited for. Times are as `time.time()`.

    `host` is who does not answer or asks to be left alone, `since` when that began, and
    `reason` what happened. The next try is at `next_try`; after `until` there is none.
    """

    host: str
    reason: str
    since: float
    next_try: float
    until: float

    def text(self, now: float) -> str:
        """The same for people."""
        said = f"{self.host}: {self.reason}, no success since {_clock(self.since)}"
        if self.next_try > now:
            said += f", next try in {math.ceil(self.next_try - now)} s"
        return f"{said}, giving up at {_clock(self.until)}"


class Waits:
    """What a session waits for: tries without an answer, waits before the next, pauses."""

    def __init__(self, host: str, clock: Callable[[], float] = time.time) -> None:
        self.host = host
        self._clock = clock
        self._listeners: list[Callable[[Waiting], None]] = []
        self._failing_since: dict[str, float] = {}
        self._under_way: dict[object, tuple[float, float]] = {}
        self._last_answer = -math.inf
        self._last: Waiting | None = None
        self._pause_until = -math.inf

    @property
    def current(self) -> Waiting | None:
        """What is waited for right now, for longer than usual; None if all goes well."""
        now = self._clock()
        if self._last and self._last.next_try > now:
            return self._last
        # Another thread may read this.
        tries = list(self._under_way.values())
        if not tries:
            return None
        since = max(self._last_answer, min(started for started, _ in tries))
        if now - since < _USUAL_S:
            return None
        since = self._failing_since.get(self.host, since)
        return Waiting(self.host, "no answer yet", since, now, max(until for _, until in tries))

    @contextmanager
    def listening(self, listener: Callable[[Waiting], None]) -> Iterator[None]:
        """Call the listener with each retry and each pause while the block runs."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def started(self, attempt: object, seconds_left: float) -> None:
        """A try is sent, which has so long to succeed."""
        now = self._clock()
        self._under_way[attempt] = (now, now + seconds_left)

    def answered(self, attempt: object, host: str) -> None:
        """An answer that is a success has begun to come."""
        self._last_answer = self._clock()
        self._under_way.pop(attempt, None)
        self._failing_since.pop(host, None)
        self._last = None

    def heard(self, attempt: object, seconds_left: float) -> None:
        """A part of what is transferred has come or gone."""
        self._last_answer = self._clock()
        self.started(attempt, seconds_left)

    def ended(self, attempt: object) -> None:
        """The try is over, however it went."""
        self._under_way.pop(attempt, None)

    def retrying(
        self, name: str, host: str, reason: str, *, lasted: float, wait: float, left: float
    ) -> None:
        """A try failed after so many seconds; the next is in `wait`, the last in `left`."""
        now = self._clock()
        since = self._failing_since.setdefault(host, now - lasted)
        self._tell(name, Waiting(host, reason, since, now + wait, now + max(wait, left)))

    def pausing(self, name: str, seconds: float, timeout: float) -> None:
        """Nothing is sent for so long, as was asked for; each pause is told once."""
        now = self._clock()
        if now + seconds > self._pause_until + 0.5:
            self._pause_until = now + seconds
            reason = f"asks for a pause of {math.ceil(seconds)} s"
            until = now + seconds
            self._tell(name, Waiting(self.host, reason, now, until, until + timeout))

    def _tell(self, name: str, waiting: Waiting) -> None:
        self._last = waiting
        log.info("%s: %s", name, waiting.text(self._clock()))
        for listener in list(self._listeners):
            listener(waiting)


def _clock(moment: float) -> str:
    """The time of day, as a person here reads it."""
    return time.strftime("%H:%M:%S", time.localtime(moment))
