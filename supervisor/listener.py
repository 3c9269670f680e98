"""Listener: what a store gives that can wake the core when somebody changes a record."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Listener(ABC):
    """Wakes the core when somebody has changed a record. No method blocks."""

    @abstractmethod
    def fileno(self) -> int:
        """Give a descriptor that becomes readable then, and when the connection is lost."""

    @abstractmethod
    def clear(self) -> None:
        """Forget what has woken us. Raises StoreUnavailable where the connection is lost."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection. Idempotent."""
