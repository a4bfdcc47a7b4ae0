"""How a test's job is spoken to: a word in, a line of JSON out; it ends with its input, so none outlives its test."""

import json
import sys
from collections.abc import Callable, Mapping


def talk(ready: Mapping[str, object], answers: Mapping[str, Callable[[], Mapping[str, object]]]) -> None:
    """Say that the job is ready, then answer words until `quit` or the end of input.

    Raises:
        KeyError: a word that this job does not know.
    """
    say(ready)
    for line in sys.stdin:
        word = line.strip()
        if word == "quit":
            return
        say(answers[word]())


def say(message: Mapping[str, object]) -> None:
    """Print one line of JSON at once."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
