"""What Python sees of what users say of types in advance."""

from collections.abc import Mapping

from chopin.codecs import CodecSpec, JSONOption

class Registry:
    """What is said of types before they are met."""

    def __init__(
        self,
        codecs: Mapping[str, CodecSpec] | None = None,
        json: JSONOption = None,
    ) -> None: ...
