"""The example is a package of its own; `test_tutorial.py` installs it and runs its test."""

collect_ignore = ["example"]
