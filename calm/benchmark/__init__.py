"""How fast and how large everything is on this machine, side by side: `python -m calm.benchmark`."""
