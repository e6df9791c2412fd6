"""What Python sees of how a session begins and ends."""

from chopin._protocol import Op, Session
from chopin._waiter import Waiter

class StartupOp(Op):
    """From StartupMessage to the first ReadyForQuery."""

    @property
    def minor_version(self) -> int: ...
    def next_request(self) -> Waiter: ...

def start_startup(
    session: Session, parameters: dict[str, str], minor_version: int = 0
) -> StartupOp: ...
def send_password(session: Session, data: bytes) -> None: ...
def send_terminate(session: Session) -> None: ...
