"""Prints what is made from the model:

python -m reflow_supervisor.config schema > specs/reflow.schema.json
python -m reflow_supervisor.config reference > docs/configuration.md
"""

import json
import sys

from reflow_supervisor.config.reference import reference
from reflow_supervisor.config.schema import json_schema


def main(arguments: list[str]) -> int:
    match arguments:
        case ["schema"]:
            print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        case ["reference"]:
            print(reference(), end="")
        case _:
            print("usage: python -m reflow_supervisor.config schema | reference", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
