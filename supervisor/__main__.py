"""`python -m supervisor`: the same as the `supervisor` command."""

from content_supervisor_entry import main

raise SystemExit(main())
