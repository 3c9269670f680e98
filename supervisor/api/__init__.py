"""The HTTP API on core.sock: one file per resource, served by `supervisor.api.server.serve_api`."""
