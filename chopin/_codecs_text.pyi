"""What Python sees of the codecs for values that come as text."""

from chopin._codecs import CodecMap

class TextCodecs(CodecMap):
    """The codecs of a table as they are where all values come as text."""
