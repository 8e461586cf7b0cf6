"""The generated corpus laid out as the publishers of the benchmarks lay out theirs: same scenes, other files."""
