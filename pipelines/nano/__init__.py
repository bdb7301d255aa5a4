"""nano: the small model that liveagent ships, the recipe that makes it, and its weights."""
