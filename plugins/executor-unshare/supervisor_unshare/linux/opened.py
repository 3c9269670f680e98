"""Close a descriptor in any case. A class of its own: contextlib is large for what clones hold."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class opened:
    """Give the descriptor and close it at the end; keep: only where the block raises."""

    def __init__(self, fd: int, *, keep: bool = False) -> None:
        self._fd = fd
        self._keep = keep

    def __enter__(self) -> int:
        return self._fd

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._keep or kind is not None:
            os.close(self._fd)
