"""What do embeddings and forecasts hold? Tuning, mouse and area, low-dimensional dynamics (Fig. 5-8, Table 9)."""
