"""The functions of `signal` and plain numbers, without its enums.

Those, and what they import, would be a fifth of the memory that each clone of the zygote copies.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_BLOCK as SIG_BLOCK
    from signal import SIGCHLD as SIGCHLD
    from signal import SIGHUP as SIGHUP
    from signal import SIGINT as SIGINT
    from signal import SIGKILL as SIGKILL
    from signal import SIGSTOP as SIGSTOP
    from signal import SIGTERM as SIGTERM
    from signal import pthread_sigmask as pthread_sigmask
    from signal import sigwait as sigwait
    from signal import valid_signals as valid_signals
else:
    from _signal import (  # noqa: F401
        SIG_BLOCK,
        SIGCHLD,
        SIGHUP,
        SIGINT,
        SIGKILL,
        SIGSTOP,
        SIGTERM,
        pthread_sigmask,
        sigwait,
        valid_signals,
    )
