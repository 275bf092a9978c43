"""Answers each line of JSON with one: what the programs about tokens share."""

import json
import sys


def serve(library, token, verify):
    print(json.dumps({"library": library}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = {"token": token, "verify": verify}[asked.pop("ask")](**asked)
        print(json.dumps(answer), flush=True)


def parameters(scope, audience):
    """Those of the request that are not None."""
    wanted = {"scope": scope, "audience": audience}
    return {name: value for name, value in wanted.items() if value}
