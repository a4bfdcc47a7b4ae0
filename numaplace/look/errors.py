"""Why there is nothing to be seen, in words for a person."""


class LookError(Exception):
    """The look did not succeed; ``words`` say why, and what helps."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class NotThere(LookError):  # noqa: N818 - says what happened
    """What was asked for does not exist, or has ended."""
