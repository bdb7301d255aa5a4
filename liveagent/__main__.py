"""`python -m liveagent` is `liveagent`."""


def run() -> None:
    from liveagent.cli import main

    main()


if __name__ == "__main__":
    run()
