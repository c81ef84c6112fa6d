"""What does a file hold? A reader for each layout of files, which makes of each a recording or a session."""
