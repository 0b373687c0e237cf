"""The command line: `python -m mlinfra COMMAND`, for manifests, clusters and traffic of the reader's own."""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module

from mlinfra import Invalid
from mlinfra.commands.report import REFUSED, USAGE, UsageError

COMMANDS = {
    "validate": "what the API server, a webhook or a controller would refuse",
    "explain": "one pass of an HPA, and why it decides so",
    "replay": "what an autoscaler would have done on recorded traffic",
    "place": "where pending pods go in a cluster, or why not",
    "tune": "settings of an HPA on recorded traffic: what they cost, and how long requests wait",
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="mlinfra", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        module = import_module(f"mlinfra.commands.{name}")
        command = commands.add_parser(
            name,
            help=purpose,
            description=module.__doc__,
            epilog=module.EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="the answer as JSON, for programs")
    return top


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, 1 where something is refused or does not fit, 2 for a call that cannot be answered."""
    arguments = parser().parse_args(argv)
    try:
        report = import_module(f"mlinfra.commands.{arguments.command}").run(arguments)
    except UsageError as error:
        print(f"mlinfra {arguments.command}: {error}", file=sys.stderr)
        return USAGE
    except Invalid as refusal:
        print(refusal, file=sys.stderr)
        return REFUSED
    print(json.dumps(report.data, indent=2) if arguments.json else report.text)
    return int(report.code)


if __name__ == "__main__":
    sys.exit(main())
