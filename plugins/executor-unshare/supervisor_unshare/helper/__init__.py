"""The privileged process: it starts runs, keeps them, and ends them, at the core's request."""
