"""The group `hand`: what a person and a program do themselves, against the tool that they would take today."""
