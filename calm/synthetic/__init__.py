"""Which recordings have a known truth? The simulated network of Eq. 1, 17 and 18, synthetic mice, their ceilings."""
