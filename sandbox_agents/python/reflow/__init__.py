"""What `from reflow import ...` gives a script, the Python agent, and the wire code that both ends share."""

from .context import ActorContext
from .decorator import actor
from .message import Message
from .state import ActorState

__all__ = ["ActorContext", "ActorState", "Message", "actor"]
