"""What do only the paper's figures need? Experiments, analyses, claims, plots, and the report."""
