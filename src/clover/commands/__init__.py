"""The commands of the command line: one function each, its dataclass of options beside it."""
