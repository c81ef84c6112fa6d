"""How does one use calm without writing Python? `calm forecast`, `tokenize`, `decode` and `info`."""
