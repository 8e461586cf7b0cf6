"""Worker processes that end with their parent, and how many of them a machine has room for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def num_usable_cores() -> int:
    """Cores that this process may run on, which can be less than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def obey_parent() -> None:
    """Let this worker end when its parent does, and leave Ctrl-C to the parent.

    A killed parent would leave it waiting for work for ever; interrupted, every worker would print its own traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def wait() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=wait, daemon=True).start()
