"""How far a run reaches into the network: as its content says, else the server, within bounds."""

from __future__ import annotations

import attrs

from supervisor import network
from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor, Lifetime
from supervisor.model import Content, Plan, Purpose
from supervisor.network import Egress
from supervisor.settings import Settings

_OURS = frozenset({Purpose.UNPACK, Purpose.TIDY})  # programs of ours: they need no network
_HINT = (
    "`supervisor set CONTENT egress=…` takes one that can be had, `executor=…` another executor;"
    " Egress and MostEgress of [Network] hold for all contents. `supervisor doctor` says more."
)


@attrs.frozen(kw_only=True)
class Reach:
    """What the settings say of it."""

    default: Egress = Egress.HOST
    most: Egress = Egress.HOST

    @classmethod
    def of(cls, settings: Settings) -> Reach:
        """Take it out of the settings."""
        section = settings.network
        return cls(default=Egress[section.egress], most=Egress[section.most_egress])

    def unmet(self, executor: Executor) -> tuple[str, str]:
        """Say what content this executor does not start, and what to do; "", "" where it does."""
        return network.unmet(self.default, self.most, executor.capabilities.egress)

    def check(self, content: Content, executor: Executor) -> None:
        """Refuse what a content wants, if it is too much here or its executor cannot give it.

        Raises SupervisorError: egress-over-limit, egress-unavailable.
        """
        wanted = content.egress
        if wanted is None:
            return
        if wanted is not wanted.within(self.most):
            raise SupervisorError(
                "egress-over-limit",
                f"egress {wanted} is more than the {self.most} that this server allows",
                hint="An administrator can raise MostEgress in [Network].",
            )
        _refuse_unclaimed(wanted, executor)

    def of_run(self, content: Content, purpose: Purpose, plan: Plan, executor: Executor) -> Egress:
        """Give the egress of one run; raises SupervisorError("egress-unavailable")."""
        claimed = executor.capabilities.egress
        if purpose in _OURS:
            return Egress.NONE if Egress.NONE in claimed else self.most
        own = None if purpose is Purpose.INSTALL else content.egress
        egress = network.effective(own, self.default, self.most)
        if plan.port is not None:
            if not executor.capabilities.ports:
                raise SupervisorError(
                    "egress-unavailable",
                    f"the executor {executor.name!r} runs no content that listens on a TCP port",
                    hint="Give the content another executor.",
                )
            egress = egress.within(Egress.USER)  # its port would be everybody's
        _refuse_unclaimed(egress, executor)
        return egress


def _refuse_unclaimed(egress: Egress, executor: Executor) -> None:
    claimed = executor.capabilities.egress
    if egress not in claimed:
        here = ", ".join(sorted(claimed)) or "none at all"
        lacks_passt = (
            egress is Egress.USER and executor.capabilities.lifetime is not Lifetime.REMOTE
        )
        raise SupervisorError(
            "egress-unavailable",
            f"the executor {executor.name!r} cannot give egress {egress} here, but {here}",
            hint=f"Egress user needs the package passt (apt install passt) on this machine. {_HINT}"
            if lacks_passt
            else _HINT,
        )
