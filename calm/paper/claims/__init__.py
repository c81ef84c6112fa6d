"""Does a claim of the paper hold here? `table` has the claims, `comparisons` what they compare, `statistics` how."""
