"""The command line: `python -m mlinfra COMMAND`, for manifests, clusters and traffic of your own."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

from mlinfra import Invalid
from mlinfra.commands.report import FINE, REFUSED, USAGE, Report, UsageError

COMMANDS = {
    "validate": (
        "what the API server, a webhook or a controller would refuse",
        "python -m mlinfra validate deploy/*.yaml",
    ),
    "explain": (
        "one pass of an HPA, and why it decides so",
        "python -m mlinfra explain hpa.yaml --replicas 4 --cpu 90%",
    ),
    "replay": (
        "what an autoscaler would have done on recorded traffic",
        "python -m mlinfra replay hpa.yaml --traffic requests.csv --service-time 0.2",
    ),
    "place": (
        "where pending pods go in a cluster, or why they do not",
        "python -m mlinfra place cluster.json",
    ),
    "tune": (
        "settings of an HPA on recorded traffic: what they cost, and how long requests wait",
        "python -m mlinfra tune hpa.yaml --traffic requests.csv --p99 2s",
    ),
}
"""What each command answers, and an example."""

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The commands with their flags."""
    raw = argparse.RawDescriptionHelpFormatter
    examples = "\n".join(["examples:", *(f"  {example}" for _, example in COMMANDS.values())])
    top = argparse.ArgumentParser(prog="mlinfra", description=__doc__, epilog=examples, formatter_class=raw)
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, (purpose, _) in COMMANDS.items():
        module = import_module(f"mlinfra.commands.{name}")
        command = commands.add_parser(
            name, help=purpose, description=module.__doc__, epilog=module.EXAMPLE, formatter_class=raw
        )
        module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="the answer as JSON, for programs")
    return top


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, 1 where something is refused or does not fit, 2 for a call that cannot be answered."""
    top = parser()
    arguments = top.parse_args(argv)
    if arguments.command is None:
        top.print_help()
        return FINE
    try:
        report: Report = import_module(f"mlinfra.commands.{arguments.command}").run(arguments)
        show(report.json() if arguments.json else report.text)
        return report.code
    except UsageError as error:
        return failed(f"mlinfra {arguments.command}: {error}", USAGE)
    except Invalid as refusal:
        return failed(str(refusal), REFUSED)
    except KeyboardInterrupt:
        return failed("interrupted", INTERRUPTED)
    except BrokenPipeError:  # who reads has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE


def show(text: str) -> None:
    """Half of a character, which JSON can hold, is no text that a terminal can show."""
    print(text.encode("utf-8", "replace").decode("utf-8"), flush=True)


def failed(text: str, code: int) -> int:
    print(text.encode("utf-8", "replace").decode("utf-8"), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
