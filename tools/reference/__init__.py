"""Makes packaging/share from the commands themselves: manual pages and shell completion, as packages install them.

Whatever a command says in its help is all there is: a new command, option or example needs no word here. What is
generated depends on the source alone, not on the clock, the terminal or the user, so that a difference is a change.
"""
