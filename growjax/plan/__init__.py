"""What a model would take on chips that need not be here: memory, time, the mesh to choose, widening and selecting."""
