"""The numbers of each scale, one YAML file a profile."""
