"""The bank on the command line.

python -m mlinfra.interview mock SEED             five questions, 45 minutes
python -m mlinfra.interview answers SEED          what strong answers to them contain
python -m mlinfra.interview chain NAME            questions on one scenario: capacity, placement, release, pipeline
python -m mlinfra.interview chain NAME answers    what strong answers to them contain
python -m mlinfra.interview review [FILE]         ask the cards that are due, of FILE or work/progress.json; without a
                                                  terminal list them
python -m mlinfra.interview write FOLDER          sheet.html to print, and flashcards.csv for Anki
"""

from __future__ import annotations

import sys
from pathlib import Path

from mlinfra.interview.review import at_a_terminal
from mlinfra.interview.views import CHAINS, chain_answers, chain_questions, flash_cards, mock, sheet

PROGRESS = "work/progress.json"


def main(arguments: list[str]) -> int:
    match arguments:
        case ["mock", seed] if seed.isdecimal():
            print(mock(int(seed)).questions().text)
        case ["answers", seed] if seed.isdecimal():
            print(mock(int(seed)).answers().text)
        case ["chain", name] if name in CHAINS:
            print(chain_questions(name).text)
            print(f"The answers: python -m mlinfra.interview chain {name} answers")
        case ["chain", name, "answers"] if name in CHAINS:
            print(chain_answers(name).text)
        case ["review"]:
            return at_a_terminal(Path(PROGRESS))
        case ["review", file] if not Path(file).is_dir():
            return at_a_terminal(Path(file))
        case ["write", folder] if not Path(folder).is_file():
            Path(folder).mkdir(parents=True, exist_ok=True)
            for name, text in {"sheet.html": sheet(), "flashcards.csv": flash_cards()}.items():
                (Path(folder) / name).write_text(text, "utf-8")
                print(Path(folder) / name)
        case ["-h" | "--help"]:
            print(__doc__)
        case _:
            print(f"{' '.join(arguments) or 'nothing'}: must be {_possible(arguments)}", file=sys.stderr)
            return 2
    return 0


def _possible(arguments: list[str]) -> str:
    """What could stand in the place of arguments that nothing takes."""
    match arguments:
        case ["chain", *_]:
            return f"chain and one of {', '.join(CHAINS)}, and after it `answers` to see them"
        case ["mock" | "answers" as view, *_]:
            return f"{view} and a seed, a whole number such as 7"
        case ["review", *_]:
            return "review, and after it a file such as work/progress.json or nothing"
        case ["write", *_]:
            return "write and a folder"
    return "one of mock SEED, answers SEED, chain NAME, review, write FOLDER"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
