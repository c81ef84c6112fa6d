"""What is a session, and where does it come from? Trials, their preparation, and every way to read or write them."""
