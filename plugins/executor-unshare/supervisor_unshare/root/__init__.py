"""The root that a sandbox shows: planned as data, then built."""
