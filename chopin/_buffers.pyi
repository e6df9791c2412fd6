"""What Python sees of the memory of a session: that it exists."""

class WriteBuffer:
    """Messages under construction."""

class ReadBuffer:
    """Bytes received and not yet consumed, always contiguous."""
