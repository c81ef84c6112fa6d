"""Does a claim of the paper hold here? Each as a statistical test on the results tables."""
