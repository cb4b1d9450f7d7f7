"""Run untrusted Python and JavaScript actors as one supervised dataflow, each in its own sandbox."""

__version__ = "0.1.0"
