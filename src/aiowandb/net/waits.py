"""What a session is waiting for: every retry and every pause, reported to listeners."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

log = logging.getLogger("aiowandb.net")

# A response may take this long before it counts as a wait.
USUAL_S = 3.0


class Waiting(msgspec.Struct, frozen=True, tag_field="event", tag="waiting"):
    """A session is waiting. Times are as `time.time()`.

    `host` does not answer or has asked for a pause, `since` is when that began, and `reason`
    is what happened. The next attempt is at `next_try`; after `until` there is none.
    """

    host: str
    reason: str
    since: float
    next_try: float
    until: float

    def text(self, now: float) -> str:
        """One line that says so."""
        line = f"{self.host}: {self.reason}, no success since {_clock(self.since)}"
        if self.next_try > now:
            line += f", next try in {math.ceil(self.next_try - now)} s"
        return f"{line}, giving up at {_clock(self.until)}"


class Waits:
    """Keeps track of what a session waits for: responses, retries, pauses."""

    def __init__(self, host: str, clock: Callable[[], float] = time.time) -> None:
        self.host = host
        self._clock = clock
        self._listeners: list[Callable[[Waiting], None]] = []
        self._failing_since: dict[str, float] = {}
        self._under_way: dict[object, tuple[float, float]] = {}
        self._last_answer = -math.inf
        self._last: Waiting | None = None
        self._pause_until = -math.inf
        # The request that was cancelled last, and when, by the clock of the event loop.
        self._interrupted = (-math.inf, "")

    @property
    def current(self) -> Waiting | None:
        """What the session has been waiting for longer than usual; None if all is well."""
        now = self._clock()
        if self._last and self._last.next_try > now:
            return self._last
        # Another thread may read this.
        tries = list(self._under_way.values())
        if not tries:
            return None
        since = max(self._last_answer, min(started for started, _ in tries))
        if now - since < USUAL_S:
            return None
        since = self._failing_since.get(self.host, since)
        return Waiting(self.host, "no answer yet", since, now, max(until for _, until in tries))

    @property
    def trouble(self) -> str:
        """What failed last and has not succeeded since, for the end of a sentence; or nothing."""
        last = self._last
        if last is None or last.host not in self._failing_since:
            return ""
        return f" ({last.host}: {last.reason})"

    def interrupted(self, time: float, name: str, host: str) -> None:
        """A request was cancelled at this time of the event loop's clock."""
        source = "" if "://" in name else f" from {host}"
        self._interrupted = (time, f": it was waiting for {name}{source}")

    def interrupted_after(self, time: float) -> str:
        """Which request was cancelled since then, for the end of a sentence; or nothing."""
        last, text = self._interrupted
        return text if last >= time else ""

    @contextmanager
    def listening(self, listener: Callable[[Waiting], None]) -> Iterator[None]:
        """Call the listener with each retry and each pause while the block runs."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def started(self, attempt: object, seconds_left: float) -> None:
        """An attempt is sent, which has this long to succeed."""
        now = self._clock()
        self._under_way[attempt] = (now, now + seconds_left)

    def answered(self, attempt: object, host: str) -> None:
        """A successful response has begun to arrive."""
        self._last_answer = self._clock()
        self._under_way.pop(attempt, None)
        self._failing_since.pop(host, None)
        self._last = None

    def progressed(self, attempt: object, seconds_left: float) -> None:
        """A part of a transfer was received or sent."""
        self._last_answer = self._clock()
        self.started(attempt, seconds_left)

    def ended(self, attempt: object) -> None:
        """The attempt is over, with whatever result."""
        self._under_way.pop(attempt, None)

    def retrying(
        self, name: str, host: str, reason: str, *, lasted: float, wait: float, left: float
    ) -> None:
        """An attempt failed after `lasted` seconds; the next is in `wait`, the last in `left`."""
        now = self._clock()
        since = self._failing_since.setdefault(host, now - lasted)
        self._report(name, Waiting(host, reason, since, now + wait, now + max(wait, left)))

    def pausing(self, name: str, seconds: float, timeout: float) -> None:
        """Nothing is sent for this long, because W&B asked for it. Each pause is reported once."""
        now = self._clock()
        if now + seconds > self._pause_until + 0.5:
            self._pause_until = now + seconds
            reason = f"asks for a pause of {math.ceil(seconds)} s"
            until = now + seconds
            self._report(name, Waiting(self.host, reason, now, until, until + timeout))

    def _report(self, name: str, waiting: Waiting) -> None:
        self._last = waiting
        log.info("%s: %s", name, waiting.text(self._clock()))
        for listener in list(self._listeners):
            listener(waiting)


def _clock(moment: float) -> str:
    """The local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(moment))
