"""What every Python script here begins with: choose a scenario, run it, print what it found as one line of JSON.

Runs in a client's environment, where nothing of Mycelium is installed: only the standard library may be imported.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys


def main(*scenarios):
    """Run the one that the command line names: NAME URL ARGUMENTS, which are a JSON object."""
    known = {scenario.__name__: scenario for scenario in scenarios}
    name, url, arguments = sys.argv[1:4]
    found = known[name](url, **json.loads(arguments))
    if inspect.iscoroutine(found):
        found = asyncio.run(found)
    print(json.dumps(found))
