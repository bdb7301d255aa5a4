"""liveagent's own protocol, version 1, for the web page and other viewers: subprotocol `liveagent.v1`, at `/live`.

Text frames are JSON, binary frames are media. Events and actions travel in the form that the journal stores
(`event.to_json`), so whatever a session knows a viewer can show.

From the peer, text (`t_ns` may be left out; the server stamps):

    {"type": "hello", "v": 1, "speak": true, "resume": {"session": "…", "secret": "…", "seq": 417}}
        first of all, within five seconds. `speak` false: replies are only written. `resume` is optional.
    {"type": "TextTyped", "text": "…"}     and every other event of `ASKS` below, by its name and fields
    {"type": "ping", "at": 12345.6}        answered by {"type": "pong", "at": 12345.6, "t_ns": …}

From the peer, binary: u8 kind, u8 flags, u16 0, u32 count, u64 capture time in µs (the peer's own clock), payload.
Integers are little-endian.

    kind 1   sound: int16 mono at 16 kHz; count: samples sent before these (a hole is a gap, and is marked)
    kind 2   picture: JPEG, PNG or WebP
    kind 3   picture: RGB, 128 x 128 x 3 bytes
    kind 4   playback: u32 utterance, u32 samples of it that have really sounded in all; count: 0

From the server, text; `seq` counts what a peer that comes back may ask to be told again, and is missing on the rest:

    {"type": "welcome", "session": "…", "secret": "…", "resumed": false, "ago_ms": null, "t_ns": …, "agent": {"model",
     "device", "instructions", "tools", "phrases", "voice", "sees"}}
    {"seq": 12, "e": {"type": "ReplyStarted", …}}    an event, or an action (`Duck`, `Freeze`, `Resume`, `StopPlayback`)
    {"type": "snapshot", "seq": 12, "entries": […]}  after a resume that reaches too far back: the conversation so far
    {"type": "problem", "code": "…", "message": "…"}
    {"type": "going_away", "left_ms": 10000}

From the server, binary: u8 kind 16, u8 flags (1: final), u16 0, u32 utterance, u32 index of its first sample, int16
mono at 16 kHz. A peer that plays reports kind 4 at least ten times a second while it does, and once more, at once,
when told `StopPlayback`; what it does not report counts as not heard.
"""
