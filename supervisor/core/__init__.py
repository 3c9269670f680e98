"""The core: contents, their runs, and everything that decides. Knows no language, sandbox or SQL."""
