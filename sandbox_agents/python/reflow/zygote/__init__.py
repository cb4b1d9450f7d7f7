"""The program that Python sandboxes are forked from: an interpreter with the agent's modules imported.

It runs in an outer sandbox, holds no secret and runs no script. Each process that it forks shuts itself in (`confine`)
before it is told who it is. What the supervisor and it say to each other is in `messages`.
"""
