"""What is CalM compared with? One file a rival, and what every method is chosen by."""
