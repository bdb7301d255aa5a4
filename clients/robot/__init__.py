"""The robot's side of the contract `liveagent/v1`: a gate, installed without torch (`pip install ./clients/robot`).

`Gate` lets in what is within its `Limits`; `contract` is what both ends read.
"""

from .call import Call, Halted
from .contract import Describe, Reason, State, Status, Stop
from .gate import Gate
from .limits import Limits
from .link import LinkError

__all__ = ["Call", "Describe", "Gate", "Halted", "Limits", "LinkError", "Reason", "State", "Status", "Stop"]
