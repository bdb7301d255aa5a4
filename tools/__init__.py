"""Tool sets: what the agent may call. One file a set; each imports the root of liveagent and its device's package."""
