"""What Python sees of the codecs of users' classes: no more than their names."""

class Members:
    """The members of an `Enum` and the labels of an enum."""

class Maker:
    """How a class is called for a composite value."""
