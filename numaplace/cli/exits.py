"""Exit codes of the command, stable for scripts, and the one way in which a command ends in failure."""

OK = 0
FAILED = 1
"""The request was understood and did not succeed."""
USAGE = 2
"""The command line, or a value in it, cannot be meant so."""
UNREACHABLE = 3
"""Neither scheduler nor agent answers where it was looked for."""
NOT_FOUND = 4
"""There is no such host, job, move, policy or process."""
STAYED = 5
"""It was done, and some of the pages stayed where they were."""
LACKING = 6
"""`numaplace doctor`: something is missing without which no pages can be moved here."""
CANNOT_RUN = 126
"""`numaplace run`: the program is there and cannot be run; as shells have it."""
NO_PROGRAM = 127
"""`numaplace run`: there is no such program; as shells have it."""
INTERRUPTED = 130
"""Ctrl-C, SIGTERM or SIGHUP ended it before its time; what was done by then is said."""

HELP = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 scheduler or agent unreachable, 4 no such thing,"
    " 5 some pages stayed, 6 the doctor found something missing, 126 the program of run cannot be run,"
    " 127 there is no such program, 130 interrupted."
)


class Failure(Exception):  # noqa: N818 - it carries an exit code and words, whatever went wrong
    """End the command with this code; ``words`` go to standard error."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words
