"""One small frozen config per model."""
