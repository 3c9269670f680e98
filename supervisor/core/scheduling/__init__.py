"""One app: its workers and seats, who may enter and who waits."""
