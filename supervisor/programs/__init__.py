"""Programs that run elsewhere, as text or file: with the standard library only, none of ours."""
