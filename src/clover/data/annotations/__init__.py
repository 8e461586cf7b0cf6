"""The public annotation files of the benchmarks, as typed records: one module per publisher.

A reader takes the folder that holds the files, the name of a split and a ``Problems`` to report to. What it returns
names media by a relative path in the way of the publisher; ``media.locate`` finds them on disk.
"""
