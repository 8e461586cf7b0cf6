"""Model to answers: an index of moments on disk, and the engine that fills and asks it."""
