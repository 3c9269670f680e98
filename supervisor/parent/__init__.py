"""The process tree's root: owns the listening sockets, starts, watches and restarts the others.

Standard library only, one thread. It parses no network byte and loads no plugin.
"""
