"""What does a figure or table compare? Methods trained, used and scored, item by item."""
