"""Programs at the far end of a link. They import the root of liveagent alone, so they run where there is no torch."""
