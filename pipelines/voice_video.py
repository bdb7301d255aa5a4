"""The agent that `liveagent talk` starts: it hears and speaks like `voice`, and looks at the toy table."""

from __future__ import annotations

from liveagent.pipelines import voice
from liveagent.pipelines.looks import LOOK_QUESTIONS
from liveagent.wish import PHRASES

agent = voice.agent.replace(questions=[*voice.agent.questions, *LOOK_QUESTIONS, *PHRASES], camera="table")
