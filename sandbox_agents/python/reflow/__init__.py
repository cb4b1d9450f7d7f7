"""What `from reflow import ...` gives a script, the Python agent, and the wire code that both ends share."""
