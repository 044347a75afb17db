"""The clock that pictures are stamped with: seconds that never go back."""

from __future__ import annotations

import sys
import time

# Windows' own monotonic clock goes by steps of 16 ms before Python 3.13: as long as a picture lasts, or longer.
now = time.perf_counter if sys.platform == "win32" else time.monotonic
