"""Whether contents still have the uids that the settings give them: their files belong to these."""

from __future__ import annotations

from supervisor.errors import SupervisorError
from supervisor.interfaces import Store


def check(store: Store, *, first: int) -> None:
    """Raise identity-invalid where content was made with another `Applications.UidFirst`.

    The newest content tells: none is made by a server that does not start. Where all are removed,
    and their files with them, any range will do.
    """
    for content in store.find("content", {"removed": None}, newest_first=True, limit=1):
        made_with = content.uid - content.id
        if content.uid and made_with != first:
            raise SupervisorError(
                "identity-invalid",
                f"content {content.id} has the uid {content.uid}, and its files are that user's;"
                f" UidFirst = {first} would make it {first + content.id}",
                hint=f"Write UidFirst = {made_with} in [Applications], and a UidLast above it.",
            )
