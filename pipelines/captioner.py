"""Captions: it writes down what is said and never answers.

Good with a model that takes down free speech. nano does not: within the grammar of its tools and questions it hears
most sentences, outside of it about every second word is wrong. So this one listens for what `voice_video` knows.
"""

from __future__ import annotations

from liveagent.pipelines import voice_video

agent = voice_video.agent.replace(instructions="Listen.", tools=[], voice=None, answers=False)
