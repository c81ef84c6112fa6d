"""How does a model learn? One fit loop, the batches it takes, and the stages, each trained once and kept."""
