"""Errors, typed by who can mend them.

    LiveAgentError
    ├── ConfigError     whoever wrote the agent, a tool, a phrase or a setting; raised before anything runs
    │   └── TooFarBack  the caller: a cache was asked for more than it still holds
    ├── DeviceError     whoever owns the machine: a microphone, a library, a file that is missing or broken
    ├── LinkError       nobody: the way there is down; try again later
    │   └── EngineLost  nobody: the engine's process has ended; it is started again
    ├── ProtocolError   the peer: it sent what the protocol does not allow
    └── ToolError       the model: its call was wrong or its tool failed; the text is what the model reads
        └── OutcomeLost the user: what was called may have been done, and nobody will say; somebody has to look

None of them ends anybody else's session. A message says what to do about it.
"""

from __future__ import annotations


class LiveAgentError(Exception):
    """Whatever liveagent raises on purpose."""


class ConfigError(LiveAgentError):
    """The agent, a tool, a phrase or a setting is written in a way that cannot work."""


class TooFarBack(ConfigError):
    """A rewind that a cache cannot make exactly: its local layers no longer hold what would be seen there."""


class DeviceError(LiveAgentError):
    """A device, a library or a file of this machine is missing, busy or broken."""


class LinkError(LiveAgentError):
    """A link to elsewhere is down; the same thing may work on another try."""


class EngineLost(LinkError):
    """The process that holds the weights has ended, and with it whatever lay in its lanes. It is started again, unless
    the message says otherwise; what a session remembers can then be read into a new lane."""


class ProtocolError(LiveAgentError):
    """The peer sent something that the protocol does not allow."""


class ToolError(LiveAgentError):
    """A tool call was wrong or its tool failed. The text goes to the model; raise it in a tool to say what failed."""


class OutcomeLost(ToolError):
    """A call was sent, and whoever has the effect is gone or silent: it may have been done, and it may not. It is not
    sent again, and the text asks the user to look."""
