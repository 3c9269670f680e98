"""Whom a content runs as: its own uid, or an account that the administrator has given it."""

from __future__ import annotations

import attrs

from supervisor import accounts
from supervisor.accounts import Account
from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor
from supervisor.model import Content
from supervisor.settings import Settings


@attrs.frozen(kw_only=True)
class RunAs:
    """What the settings say of it. default and group: RunAs and SharedRunAsUnixGroup, or "".

    rootless: the server has one uid and can give no other.
    """

    default: str = ""
    group: str = ""
    forbidden: frozenset[int] = frozenset()
    rootless: bool = False

    @classmethod
    def of(cls, settings: Settings) -> RunAs:
        """Take it out of the settings."""
        return cls(
            default=settings.run_as,
            group=settings.run_as_group,
            forbidden=frozenset({settings.core_uid, settings.gateway_uid, settings.install_uid}),
            rootless=settings.rootless,
        )

    def account(self, content: Content, executor: Executor) -> Account | None:
        """Give whom a process of this content runs as; None for the content's own uid.

        Looked up anew for each process, since accounts change. Raises
        SupervisorError("run-as-refused").
        """
        name = content.run_as or self.default
        if not name or (self.rootless and not content.run_as):
            return None
        account = self.named(name)
        if not executor.capabilities.run_as:
            other = "`run_as=default`" if content.run_as else "take RunAs out of [Applications]"
            raise SupervisorError(
                "run-as-refused",
                f"the executor {executor.name!r} runs content under its own uid alone, not as"
                f" {name!r}",
                hint=f"Give the content another executor, or {other}.",
            )
        return account

    def named(self, name: str) -> Account:
        """Give the account of this name, if content may run as it; else as `account`."""
        if self.rootless:
            raise SupervisorError(
                "run-as-refused",
                f"a server without root cannot run content as {name!r}",
                hint="Start the server as root.",
            )
        account = accounts.named(name)
        if account is None:
            raise SupervisorError("run-as-refused", f"this machine has no account {name!r}")
        why = accounts.refusal(
            account, default=self.default, group=self.group, forbidden=self.forbidden
        )
        if why:
            raise SupervisorError(
                "run-as-refused",
                f"content may not run as {name!r}: {why}",
                hint="[Applications] SharedRunAsUnixGroup names the group of those that may be"
                " used; its members are the administrator's choice.",
            )
        return account
