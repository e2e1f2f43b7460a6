"""Bounds on what a template may take. Shared by the worker, which keeps them, and the daemon."""

from typing import Final

MAX_TEMPLATE_CHARACTERS: Final = 1 << 20
MAX_OUTPUT_CHARACTERS: Final = 16 << 20
"""Of one prompt; a million tokens are about 4 million characters."""
MAX_MEMORY_BYTES: Final = 256 << 20
"""Address space of the worker above what it has after its imports."""
DEADLINE_S: Final = 2.0
"""Processor time of one job; real templates take milliseconds."""
PATIENCE: Final = 10
"""Times that much passes on a busy machine before a job is given up all the same."""
IDLE_S: Final = 60.0
"""After this long without a job the workers go."""
MAX_WORKERS: Final = 4
"""Models whose templates run at the same time."""
START_TIMEOUT_S: Final = 30.0
