"""Ready-made agents: each file holds one value, `agent = Agent(...)`; nano also holds the recipe that trains it."""
