"""The few loops that see every znode of a tree, in C where that was built: `QUICK` is the module, or `None`.

The same is written in Python right where these are used, with the same results. That is what runs where nothing was
built (no compiler, another implementation of Python), and for whatever the quick way declines.
"""

from __future__ import annotations

try:
    from hybridsync import _native as QUICK
except ImportError:
    QUICK = None  # type: ignore[assignment]  # of a module, mypy thinks that it is always there

__all__ = ["QUICK"]
