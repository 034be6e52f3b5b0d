"""How many of this machine's cores are this process's own. No torch here."""

import os


def cores() -> int:
    """Those that the system lets it use, shared evenly by the ranks that torchrun started here; at least one."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
