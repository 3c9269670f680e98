"""`python -m supervisor`: the same as the `supervisor` command."""

from supervisor._entry import main

raise SystemExit(main())
