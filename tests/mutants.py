"""Breaks twelve algorithms on purpose and sees whether their tests go red: `python tests/mutants.py`.

Each algorithm gets a seeded sample of small faults: a bound moved by one, a sign, an `and` for an `or`, a statement
left out. A fault that no test notices *survives*. Name algorithms to run only those; SEED and COUNT are in the
environment. The checkout is copied and stays as it is.
"""

from __future__ import annotations

import ast
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

ROOT = Path(__file__).parents[1]
NOT_COPIED = shutil.ignore_patterns(".venv", ".git", "build", "work", "__pycache__", ".*_cache", ".hypothesis")
LONGEST_S, LARGEST_BYTES = 300, 4 << 30  # a loop that does not end, or that fills the memory, was noticed


@dataclass(frozen=True)
class Algorithm:
    """Files below `mlinfra/`, and what of the tests speaks about them."""

    files: tuple[str, ...]
    tests: tuple[str, ...]
    cases: str


HPA = tuple(f"autoscaling/hpa/{name}.py" for name in ("controller", "replicas", "behavior"))
KPA = tuple(f"autoscaling/knative/{name}.py" for name in ("autoscaler", "bucketing", "decider", "scaler"))
LLM = tuple(f"autoscaling/llm/{name}.py" for name in ("blocks", "scheduler", "server", "stretch"))
PICKER = tuple(f"kserve/picker/{name}.py" for name in ("endpoint", "epp", "prefix", "profile", "saturation", "scorers"))
NODES = tuple(f"gpu/nodes/{name}.py" for name in ("scale_up", "scale_down", "estimate", "expander", "drain"))

ALGORITHMS = {
    "HPA": Algorithm(HPA, ("test_hpa.py", "test_autoscaling_invariants.py"), "hpa"),
    "KPA": Algorithm(KPA, ("test_knative.py",), "kpa"),
    "VPA": Algorithm(
        tuple(f"autoscaling/vpa/{name}.py" for name in ("histogram", "recommender", "usage")), ("test_vpa.py",), "vpa"
    ),
    "Ray Serve's policy and router": Algorithm(
        ("ray_serve/autoscaling.py", "ray_serve/router.py"), ("test_ray_autoscaling.py", "test_ray_router.py"), "ray"
    ),
    "kube-scheduler's cycle": Algorithm(
        ("gpu/scheduler.py", "gpu/filters.py", "gpu/scoring.py"),
        ("test_gpu_scheduler.py", "test_gpu_scoring.py", "test_gpu_batch.py", "test_gpu_node_devices.py"),
        "nodefit",
    ),
    "preemption": Algorithm(
        ("gpu/preemption.py", "gpu/gangs.py"), ("test_gpu_preemption.py", "test_gpu_gangs.py"), "preemption"
    ),
    "Kueue": Algorithm(("gpu/kueue.py", "gpu/quota.py"), ("test_gpu_quota.py", "test_gpu_invariants.py"), "kueue"),
    "three-way merge": Algorithm(
        ("helm/strategic_merge.py", "helm/upgrade.py"), ("test_helm_upgrade.py",), "strategic_merge"
    ),
    "canary": Algorithm(
        ("kserve/canary/rollout.py", "kserve/canary/sequential.py", "kserve/canary/traffic.py"),
        ("test_kserve_canary.py",),
        "kserve_keda",
    ),
    "continuous batching": Algorithm(LLM, ("test_llm_server.py", "test_llm_invariants.py"), "llm_scheduler"),
    "endpoint picker": Algorithm(PICKER, ("test_kserve_picker.py",), "llm_picker"),
    "node autoscaler": Algorithm(NODES, ("test_gpu_nodes.py",), "node_autoscaling"),
}


@dataclass(frozen=True)
class Mutant:
    """One text of a file in the place of another."""

    file: str
    line: int
    start: int
    end: int
    text: str

    def broken(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]


SWAPPED: dict[type[ast.AST], Any] = {
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.Div(),
    ast.Div: ast.Mult(),
    ast.FloorDiv: ast.Mult(),
    ast.And: ast.Or(),
    ast.Or: ast.And(),
}
TWINS = {"min": "max", "max": "min", "any": "all", "all": "any", "ceil": "floor", "floor": "ceil"}


def changed(node: ast.AST) -> ast.AST | None:
    """The node with one small fault, or None where none is known."""
    match node:
        case ast.Compare(left, [operator], comparators) if type(operator) in SWAPPED:
            return ast.Compare(left, [SWAPPED[type(operator)]], comparators)
        case ast.BinOp(left, operator, right) if type(operator) in SWAPPED:
            return ast.BinOp(left, SWAPPED[type(operator)], right)
        case ast.BoolOp(operator, values):
            return ast.BoolOp(SWAPPED[type(operator)], values)
        case ast.UnaryOp(ast.Not(), operand):
            return operand
        case ast.Constant(bool(value)):
            return ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            return ast.Constant(value + 1)
        case ast.Name(name) if name in TWINS:
            return ast.Name(TWINS[name])
        case ast.Expr(ast.Call()) | ast.AugAssign() | ast.Continue() | ast.Break():
            return ast.Pass()
    return None


def behaviour(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that decide: no decorators, annotations or texts for the reader."""
    aside = [*getattr(tree, "decorator_list", ()), getattr(tree, "annotation", None), getattr(tree, "returns", None)]
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.JoinedStr) or child in aside:
            continue
        yield child
        yield from behaviour(child)


def mutants(file: str) -> list[Mutant]:
    """Every small fault that is known for a file."""
    source = (ROOT / "mlinfra" / file).read_bytes()
    lengths = [len(line) for line in source.splitlines(keepends=True)]
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    faults = []
    for node in behaviour(ast.parse(source)):
        fault = changed(node)
        if fault is None or not isinstance(node, ast.expr | ast.stmt):
            continue
        text = ast.unparse(ast.fix_missing_locations(fault))
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        faults.append(Mutant(file, node.lineno, start, end, f"({text})" if isinstance(node, ast.expr) else text))
    return faults


def is_noticed(copy: Path, algorithm: Algorithm, mutant: Mutant) -> bool:
    """Whether the tests go red, or do not end, with the fault in the copy."""
    path = copy / "mlinfra" / mutant.file
    source = path.read_bytes()
    path.write_bytes(mutant.broken(source))
    try:
        return not all(is_green(copy, command) for command in commands(algorithm))
    finally:
        path.write_bytes(source)


def commands(algorithm: Algorithm) -> list[list[str]]:
    """Upstream's cases first: they are quick. A word that no file of cases has selects none, which is no failure."""
    return [
        ["tests/conformance/test_conformance.py", "-k", algorithm.cases],
        [f"tests/{name}" for name in algorithm.tests],
    ]


def is_green(copy: Path, arguments: list[str]) -> bool:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, timeout=LONGEST_S, preexec_fn=limit_memory
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode in (0, 5)


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LARGEST_BYTES, LARGEST_BYTES))


def main(names: list[str]) -> int:
    seed, count = int(os.environ.get("SEED", "1")), int(os.environ.get("COUNT", "15"))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(2):
            copies.put(Path(shutil.copytree(ROOT, Path(folder, str(number)), ignore=NOT_COPIED)))

        def trial(algorithm: Algorithm, mutant: Mutant) -> bool:
            copy = copies.get()
            try:
                return is_noticed(copy, algorithm, mutant)
            finally:
                copies.put(copy)

        survivors = total = 0
        for name in names or ALGORITHMS:
            algorithm = ALGORITHMS[name]
            faults = [mutant for file in algorithm.files for mutant in mutants(file)]
            sample = random.Random(seed).sample(faults, min(count, len(faults)))
            noticed = list(pool.map(trial, [algorithm] * len(sample), sample))
            left = [mutant for mutant, seen in zip(sample, noticed, strict=True) if not seen]
            print(f"{name}: {len(sample) - len(left)} of {len(sample)} noticed, out of {len(faults)} known", flush=True)
            for mutant in left:
                print(f"    mlinfra/{mutant.file}:{mutant.line}: {mutant.text}", flush=True)
            survivors, total = survivors + len(left), total + len(sample)
    print(f"{survivors} of {total} survived, {survivors / total:.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
