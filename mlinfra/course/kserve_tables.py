"""What kubectl prints of KServe's objects: the columns of the CRDs (`charts/kserve-crd` at aaac4e29), our objects.

Ages and pod suffixes are made up; everything else is what the model of the controller decides.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence

from mlinfra import study, tables
from mlinfra.admission import Problem, validate
from mlinfra.admission.kserve import API_VERSION, advice, mode
from mlinfra.admission.rules import Invalid
from mlinfra.kserve import Container, InferenceService, Predictor, reconcile, runtimes
from mlinfra.manifest import Manifest, to_yaml

DOMAIN = "example.com"
SERVICE_COLUMNS = ("NAME", "URL", "READY", "PREV", "LATEST", "PREVROLLEDOUTREVISION", "LATESTREADYREVISION", "AGE")
RUNTIME_COLUMNS = ("NAME", "DISABLED", "MODELTYPE", "CONTAINERS", "AGE")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], gap: int = 3) -> str:
    """Columns as wide as their longest entry, three spaces between them (in events two), as kubectl prints them."""
    return "\n".join(tables.columns([columns, *rows], " " * gap))


def host(service: InferenceService) -> str:
    """The name in `status.url`: of KServe's template in Standard mode, of Knative's in Knative mode."""
    separator = "-" if service.mode == "Standard" else "."
    return f"{service.name}{separator}{service.namespace}.{DOMAIN}"


def inference_service(service: InferenceService, revisions: Sequence[str] = (), percent: int | None = None) -> str:
    """`kubectl get inferenceservice`; in Knative mode with its revisions, the newest last, and the canary's share."""
    split = ("", "", "", "")
    if service.mode == "Knative":
        rolled_out = revisions[-2] if percent is not None else ""
        targets = reconcile.traffic(percent, rolled_out)
        latest = next(str(each["percent"]) for each in targets if each["latestRevision"])
        previous = next((str(each["percent"]) for each in targets if not each["latestRevision"]), "")
        split = (previous, latest, rolled_out, revisions[-1])
    return table(SERVICE_COLUMNS, [(service.name, f"http://{host(service)}", "True", *split, "5m")])


def cluster_serving_runtimes() -> str:
    """`kubectl get clusterservingruntimes`, without the one for several nodes; the column has the first format."""
    rows = [
        (each.name, "false", [*each.formats, *each.by_name][0], "kserve-container", "3d") for each in runtimes.RUNTIMES
    ]
    return table(RUNTIME_COLUMNS, rows)


def describe_runtime(model: Manifest) -> str:
    """The end of `kubectl describe inferenceservice` for a predictor's model: the runtime, or why there is none."""
    try:
        return f"Status:\n  Cluster Serving Runtime Name:  {runtimes.runtime(model).name}"
    except Invalid as refusal:
        failure = refusal.problems[0].message
    event = table(
        ("  Type", "Reason", "Age", "From", "Message"),
        [
            ("  ----", "------", "----", "----", "-------"),
            ("  Warning", "InternalError", "3s", "v1beta1Controllers", failure),
        ],
        gap=2,
    )
    status = [
        "Status:",
        "  Model Status:",
        "    Last Failure Info:",
        "      Message:          No runtime found to support specified framework/version",
        "      Reason:           NoSupportingRuntime",
        "    Transition Status:  InvalidSpec",
        "Events:",
    ]
    return "\n".join([*status, event])


def outlook(service: Manifest) -> str:
    """The verdict on an InferenceService, what is ignored in it, and the objects and image that it would get.

    The way in is that of the Gateway API, and the runtimes are the chart's. Of other objects the verdict alone.
    """
    found = validate(service)
    problems = [each for each in found if isinstance(each, Problem)]
    warnings = [each for each in found if not isinstance(each, Problem)]
    lines = [f"{service.get('kind', 'object')} {(service.get('metadata') or {}).get('name', '')}".rstrip()]
    lines += [f"  refused: {each}" for each in problems] + [f"  warning: {each}" for each in warnings]
    if problems or service.get("apiVersion") != API_VERSION:
        return "\n".join(lines if found else [*lines, "  accepted"])
    made = Counter(each.kind for each in reconcile.reconcile(service)[1:])
    lines += [f"  accepted, but {each}" for each in advice(service)]
    lines.append(f"  becomes in {mode(service)} mode: " + ", ".join(f"{count} {kind}" for kind, count in made.items()))
    return "\n".join([*lines, f"  image: {predictor_image(service['spec']['predictor'])}"])


def predictor_image(predictor: Manifest) -> str:
    """The image that answers: of the model's runtime, or of one's own container; or why it is not known here."""
    model = Predictor.of(predictor).model
    if isinstance(model, Container):
        return model.image
    if model.runtime and model.runtime not in {each.name for each in runtimes.RUNTIMES}:
        return f"that of {model.runtime}, which is not one of the chart's runtimes"
    try:
        return runtimes.image(model.manifest())
    except Invalid as refusal:
        return refusal.problems[0].message


def changes(caption: str, before: Manifest, after: Manifest) -> study.Listing:
    """The lines that `kubectl diff` marks between two manifests, each with the lines around it."""
    lines = difflib.unified_diff(to_yaml(before).splitlines(), to_yaml(after).splitlines(), lineterm="", n=1)
    return study.Listing(caption, "diff", "\n".join(line for line in lines if not line.startswith(("---", "+++"))))
