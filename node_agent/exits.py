"""How the agent ends when it cannot start or go on: words for people, exit codes for the service manager."""

EXIT_FAILED = 1
EXIT_DATA = 65
"""EX_DATAERR of sysexits.h: the journal is damaged and stays so; a full disk or a lock may pass."""
EXIT_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: starting again does not help."""
HELP = "Exit codes: 0 done, 1 failed, 2 wrong usage, 65 the journal is damaged, 78 wrong configuration."


class StartError(Exception):
    """The agent cannot start, or cannot go on; the words say why and what to do."""

    def __init__(self, words: str, exit_code: int) -> None:
        super().__init__(words)
        self.exit_code = exit_code
