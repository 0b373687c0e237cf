"""The bank on the command line.

python -m mlinfra.interview mock SEED       five questions, 45 minutes
python -m mlinfra.interview answers SEED    what strong answers to them contain
python -m mlinfra.interview chain NAME      questions on one scenario: capacity, placement, release, pipeline
python -m mlinfra.interview write FOLDER    sheet.html to print, and flashcards.csv for Anki
"""

from __future__ import annotations

import sys
from pathlib import Path

from mlinfra.interview.views import chain, flash_cards, mock, sheet


def main(arguments: list[str]) -> int:
    match arguments:
        case ["mock", seed] if seed.isdecimal():
            print(mock(int(seed)).questions().text)
        case ["answers", seed] if seed.isdecimal():
            print(mock(int(seed)).answers().text)
        case ["chain", name]:
            print("\n\n".join(f"{i}. {asked.prompt}" for i, asked in enumerate(chain(name), 1)))
        case ["write", folder]:
            Path(folder).mkdir(parents=True, exist_ok=True)
            for name, text in {"sheet.html": sheet(), "flashcards.csv": flash_cards()}.items():
                (Path(folder) / name).write_text(text, "utf-8")
                print(Path(folder) / name)
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
