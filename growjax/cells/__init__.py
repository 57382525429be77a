"""The graph of cells, the scheduler that walks it, and executors that fill it. Nothing here knows what a cell means."""
