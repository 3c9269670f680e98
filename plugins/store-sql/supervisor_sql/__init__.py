"""Records in SQLite or Postgres."""
