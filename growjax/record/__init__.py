"""Records: cells, states on disk, the run directory and its receipt. What is written is written whole or not at all."""
