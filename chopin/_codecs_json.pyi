"""What Python sees of the codecs of JSON: no more than a name."""

class Functions:
    """What reads and writes JSON."""
