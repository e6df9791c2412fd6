"""What Python sees of the codecs of composite types: no more than their names."""

class Scope:
    """Where a record finds the codecs of what is in it."""

class Attributes:
    """What a composite type consists of; the `detail` of its codec."""
