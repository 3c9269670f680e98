"""Whom a content runs as: its own uid, or an account that the administrator has given it."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import Any

import attrs
import trio

from supervisor import accounts
from supervisor.accounts import Account
from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor
from supervisor.model import Content
from supervisor.settings import Settings

LIMIT = 5.0  # seconds for the machine's accounts to answer
_at_once = trio.CapacityLimiter(4)  # questions, so that a server that is away costs little


@attrs.frozen(kw_only=True)
class RunAs:
    """What the settings say of it. default and group: RunAs and SharedRunAsUnixGroup, or "".

    rootless: the server has one uid and can give no other. program: what is asked for accounts.
    """

    default: str = ""
    group: str = ""
    forbidden: frozenset[int] = frozenset()
    rootless: bool = False
    program: str = accounts.__file__
    limit: float = LIMIT

    @classmethod
    def of(cls, settings: Settings) -> RunAs:
        """Take it out of the settings."""
        return cls(
            default=settings.run_as,
            group=settings.run_as_group,
            forbidden=frozenset({settings.core_uid, settings.gateway_uid, settings.install_uid}),
            rootless=settings.rootless,
        )

    async def account(self, content: Content, executor: Executor) -> Account | None:
        """Give whom a process of this content runs as; None for the content's own uid.

        Looked up anew for each process, since accounts change. Raises SupervisorError:
        run-as-refused, accounts-unavailable where the machine does not say within `limit` seconds.
        """
        name = content.run_as or self.default
        if not name or (self.rootless and not content.run_as):
            return None
        account = await self.named(name)
        if not executor.capabilities.run_as:
            other = "`run_as=default`" if content.run_as else "take RunAs out of [Applications]"
            raise SupervisorError(
                "run-as-refused",
                f"the executor {executor.name!r} runs content under its own uid alone, not as"
                f" {name!r}",
                hint=f"Give the content another executor, or {other}.",
            )
        return account

    async def named(self, name: str) -> Account:
        """Give the account of this name, if content may run as it; else as `account`."""
        if self.rootless:
            raise SupervisorError(
                "run-as-refused",
                f"a server without root cannot run content as {name!r}",
                hint="Start the server as root.",
            )
        account, why = await self._ask(name)
        if account is None:
            raise SupervisorError("run-as-refused", f"this machine has no account {name!r}")
        if why:
            raise SupervisorError(
                "run-as-refused",
                f"content may not run as {name!r}: {why}",
                hint="[Applications] SharedRunAsUnixGroup names the group of those that may be"
                " used; its members are the administrator's choice.",
            )
        return Account(**{**account, "groups": tuple(account["groups"])})

    async def _ask(self, name: str) -> tuple[dict[str, Any] | None, str]:
        """Ask a process of its own, which is ended where its answer does not come."""
        question = {
            "name": name,
            "default": self.default,
            "group": self.group,
            "forbidden": [*self.forbidden],
        }
        ask = partial(_said, self.program, json.dumps(question), self.limit)
        try:
            with trio.fail_after(self.limit):
                said = await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=_at_once)
            account, why = json.loads(said)
        except (trio.TooSlowError, subprocess.TimeoutExpired):
            trouble = f"there is no answer within {self.limit:g} s"
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            trouble = str(error)
        else:
            return account, why
        raise SupervisorError(
            "accounts-unavailable",
            f"the accounts of this machine cannot be asked for {name!r}: {trouble}",
            hint=f"`id {name}` must answer at once on this machine; where it does not, look at sssd"
            " or the LDAP server. It is asked again with the next start.",
            recoverable=True,
        )


def _said(program: str, question: str, limit: float) -> str:
    # One that cannot be ended keeps its thread: no more than `_at_once` of them ever wait so.
    return subprocess.run(
        [sys.executable, "-I", "-S", program],
        input=question,
        stdout=subprocess.PIPE,
        text=True,
        timeout=limit,
        check=True,
    ).stdout
