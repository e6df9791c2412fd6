"""The one error that the benchmark shows to its user."""


class BenchError(Exception):
    """The benchmark cannot run; the message says what to do."""
