"""One command of Helm, run by the Python that has it (another than ours): JSON on standard input, JSON as output.

{"kubeconfig": …, "namespace": …, "action": "install", "arguments": {"release_name": …}}
"""

import asyncio
import json
import sys

import helm_sdkpy

ACTIONS = {
    "install": helm_sdkpy.Install,
    "upgrade": helm_sdkpy.Upgrade,
    "uninstall": helm_sdkpy.Uninstall,
    "status": helm_sdkpy.Status,
    "history": helm_sdkpy.History,
    "lint": helm_sdkpy.Lint,
}


def main() -> int:
    asked = json.load(sys.stdin)
    configuration = helm_sdkpy.Configuration(namespace=asked["namespace"], kubeconfig=asked["kubeconfig"])
    try:
        answer = asyncio.run(ACTIONS[asked["action"]](configuration).run(**asked["arguments"]))
    except helm_sdkpy.HelmError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    # Helm's own library may have written to standard output before.
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
