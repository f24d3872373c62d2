"""The event loops that tests run on."""

from __future__ import annotations

import pytest

# For tests of what does not depend on the event loop: the quick part runs them on one.
QUICK_ON_ASYNCIO = ["asyncio", pytest.param("trio", marks=pytest.mark.slow)]
