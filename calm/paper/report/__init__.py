"""How is it told? Every figure and table of the paper in order, ours beside the published, and the 18 claims."""
