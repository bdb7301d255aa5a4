"""`python -m liveagent` is `liveagent`."""

from liveagent.cli import main

if __name__ == "__main__":
    main()
