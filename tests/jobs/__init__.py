"""Programs that tests move: each makes memory of one kind, proves that not a byte of it changes, and says what it felt.

They speak lines of JSON: one when they are ready, then one for each word read from standard input (see `talk`).
"""
