"""Where notebook 03 runs its pipelines, and the small pipeline that shows what a cache cannot see."""

import shutil
import tempfile
from pathlib import Path

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from mlinfra.course.steps import IMAGE
from mlinfra.pipelines import local

_temporary = tempfile.TemporaryDirectory()  # gone when Python stops
FOLDER = Path(_temporary.name)


def emptied(name: str) -> Path:
    """The folder of this name, without what an earlier run left in it."""
    place = FOLDER / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return place


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def collect(source: str, texts: Output[Dataset]) -> None:
    from pathlib import Path

    Path(texts.path).write_text(Path(source).read_text())


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def count(texts: Input[Dataset]) -> int:
    from pathlib import Path

    return len(Path(texts.path).read_text().splitlines())


@dsl.pipeline(name="counting")
def counting(source: str) -> None:
    count(texts=collect(source=source).output)


def run_counting(path: Path) -> local.LocalRun:
    """Run it on the local runner, with its cache on."""
    return local.run(counting, FOLDER / "counting", {"source": str(path)}, cache=True)
