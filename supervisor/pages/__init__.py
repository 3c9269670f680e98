"""Pages for browsers: plain HTML, no script."""
