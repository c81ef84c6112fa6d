"""What works on a recording at once? Weights that ship: a recipe (YAML), what it made, and how to use it."""
