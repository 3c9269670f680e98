"""The core: contents, their runs, everything that decides. Knows no language, sandbox or SQL."""
