"""Fuzzing: calls that hypothesis thinks of against the oracle, damaged files through the commands.

``make fuzz CALLS=20000 FILES=5000`` runs it for long, `test_fuzz.py` for seconds.
"""
