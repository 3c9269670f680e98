"""What is kept: the journal before the store, leases, the disk. Knows no run and no visitor."""
