"""`python -m reflow_supervisor`: the same as `reflow-supervise`."""

from reflow_supervisor.cli import main

if __name__ == "__main__":
    main()
