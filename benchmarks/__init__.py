"""What the parts of this project cost, beside other ways of doing the same, measured in one run.

Each module here is one benchmark, runnable alone (`python -m benchmarks.round_trip`): its docstring says what is
measured, `measure(scale)` returns the figures. `python -m benchmarks` runs all of them, each in a process of its own.
A further benchmark is a further module, listed in `benchmarks.__main__`.
"""
