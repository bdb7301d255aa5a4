"""A description: it says what is to be seen, and says it again when that has changed.

Good with a model that knows what it looks at. nano knows the toy table and nothing else; of anything else it says so.
"""

from __future__ import annotations

from liveagent import Agent
from liveagent.pipelines.looks import LOOK_QUESTIONS

agent = Agent("nano", questions=LOOK_QUESTIONS, camera="table", remark="what is on the table")
