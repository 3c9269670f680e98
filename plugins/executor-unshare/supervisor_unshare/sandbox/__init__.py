"""What runs in the process that becomes a sandbox, from its clone to the content's exec."""
