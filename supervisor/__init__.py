"""The public API for plugin authors. Names load when they are used, so that importing is cheap.

Everything that is not exported here (or by supervisor.testing) may change without notice.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

_HOME = {
    **dict.fromkeys(
        (
            "Capabilities Detected Executor Finding Installation Lifetime OutputChunk "
            "PlanContext Runtime SourceFile Store StoreEvent Change Counter"
        ).split(),
        "supervisor.interfaces",
    ),
    **dict.fromkeys(
        (
            "Access Bundle Cause Content ContentKind Deployment Exit InnerEndpoint Job Lease "
            "Limits Mount Node Observation Overrides Pending PlaceKind PlaceRef Plan Purpose Ready "
            "Receipt Role Run RunId Running Scaling Task TcpEndpoint Transition UnixEndpoint "
            "Usage is_run_id new_run_id place_key"
        ).split(),
        "supervisor.model",
    ),
    **dict.fromkeys(("hookimpl",), "supervisor.plugins.hookspecs"),
    **dict.fromkeys(("Context", "setting"), "supervisor.plugins.context"),
    **dict.fromkeys(
        ("LeaseLost", "SupervisorError", "StoreConflict", "StoreUnavailable"), "supervisor.errors"
    ),
    **dict.fromkeys(("Listener",), "supervisor.listener"),
    **dict.fromkeys(("Log",), "supervisor.log"),
    **dict.fromkeys(("Egress",), "supervisor.network"),
    **dict.fromkeys(("Child", "spawn"), "supervisor.spawning"),
    **dict.fromkeys(("from_json", "to_json"), "supervisor.wire"),
}

_MODULES = {
    "accounts": "supervisor.accounts",
    "layout": "supervisor.layout",
    "packets": "supervisor.packets",
    "sampling": "supervisor.sampling",
    "site_mounts": "supervisor.site_mounts",
    "unixsocket": "supervisor.unixsocket",
    "values": "supervisor.settings.values",
}

__all__ = ["__version__", *_MODULES, *sorted(_HOME)]

if TYPE_CHECKING:
    from supervisor import accounts as accounts
    from supervisor import layout as layout
    from supervisor import packets as packets
    from supervisor import sampling as sampling
    from supervisor import site_mounts as site_mounts
    from supervisor import unixsocket as unixsocket
    from supervisor.errors import LeaseLost as LeaseLost
    from supervisor.errors import StoreConflict as StoreConflict
    from supervisor.errors import StoreUnavailable as StoreUnavailable
    from supervisor.errors import SupervisorError as SupervisorError
    from supervisor.interfaces import Capabilities as Capabilities
    from supervisor.interfaces import Change as Change
    from supervisor.interfaces import Counter as Counter
    from supervisor.interfaces import Detected as Detected
    from supervisor.interfaces import Executor as Executor
    from supervisor.interfaces import Finding as Finding
    from supervisor.interfaces import Installation as Installation
    from supervisor.interfaces import Lifetime as Lifetime
    from supervisor.interfaces import OutputChunk as OutputChunk
    from supervisor.interfaces import PlanContext as PlanContext
    from supervisor.interfaces import Runtime as Runtime
    from supervisor.interfaces import SourceFile as SourceFile
    from supervisor.interfaces import Store as Store
    from supervisor.interfaces import StoreEvent as StoreEvent
    from supervisor.listener import Listener as Listener
    from supervisor.log import Log as Log
    from supervisor.model import Access as Access
    from supervisor.model import Bundle as Bundle
    from supervisor.model import Cause as Cause
    from supervisor.model import Content as Content
    from supervisor.model import ContentKind as ContentKind
    from supervisor.model import Deployment as Deployment
    from supervisor.model import Exit as Exit
    from supervisor.model import InnerEndpoint as InnerEndpoint
    from supervisor.model import Job as Job
    from supervisor.model import Lease as Lease
    from supervisor.model import Limits as Limits
    from supervisor.model import Mount as Mount
    from supervisor.model import Node as Node
    from supervisor.model import Observation as Observation
    from supervisor.model import Overrides as Overrides
    from supervisor.model import Pending as Pending
    from supervisor.model import PlaceKind as PlaceKind
    from supervisor.model import PlaceRef as PlaceRef
    from supervisor.model import Plan as Plan
    from supervisor.model import Purpose as Purpose
    from supervisor.model import Ready as Ready
    from supervisor.model import Receipt as Receipt
    from supervisor.model import Role as Role
    from supervisor.model import Run as Run
    from supervisor.model import RunId as RunId
    from supervisor.model import Running as Running
    from supervisor.model import Scaling as Scaling
    from supervisor.model import Task as Task
    from supervisor.model import TcpEndpoint as TcpEndpoint
    from supervisor.model import Transition as Transition
    from supervisor.model import UnixEndpoint as UnixEndpoint
    from supervisor.model import Usage as Usage
    from supervisor.model import is_run_id as is_run_id
    from supervisor.model import new_run_id as new_run_id
    from supervisor.model import place_key as place_key
    from supervisor.network import Egress as Egress
    from supervisor.plugins.context import Context as Context
    from supervisor.plugins.context import setting as setting
    from supervisor.plugins.hookspecs import hookimpl as hookimpl
    from supervisor.settings import values as values
    from supervisor.spawning import Child as Child
    from supervisor.spawning import spawn as spawn
    from supervisor.wire import from_json as from_json
    from supervisor.wire import to_json as to_json


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'supervisor' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
