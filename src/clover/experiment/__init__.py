"""The one place where stages are wired: a config in, a run out."""
