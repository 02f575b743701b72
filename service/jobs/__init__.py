"""Jobs: their states, rows, files and messages. Knows nothing of HTTP."""
