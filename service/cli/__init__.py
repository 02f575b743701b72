"""The ``sosp`` command; nothing heavy is imported before the command that needs it runs."""
