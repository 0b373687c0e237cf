"""Where an InferenceService's model comes from: the rules of KServe 0.20/0.21 for storage, variables and secrets.

`pkg/apis/serving/v1beta1/inference_service_validation.go`, `pkg/validation/{env_policy,confidential}.go` and
`ValidateStorageURI` in `pkg/controller/v1beta1/inferenceservice/utils/utils.go`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from os.path import commonpath

from mlinfra.admission.rules import ApiWarning, Field, Problem, Rules, below, holds, select

FRAMEWORKS = [
    "sklearn",
    "xgboost",
    "tensorflow",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "lightgbm",
    "paddle",
]
"""The keys of old: `predictor.pytorch` still works, and becomes `predictor.model` before anything reads it."""

MODEL = f"(model|{'|'.join(FRAMEWORKS)})"
SCHEMES = ("gs", "s3", "pvc", "file", "https", "http", "hdfs", "webhdfs", "oci", "oci+native", "oci+fetch", "hf")
OF_THE_CHART = ("modelscope",)
"""Schemes that the ClusterStorageContainer of KServe's own chart adds."""

STORAGE_URI = "STORAGE_URI"
BLOB = "blob.core.windows.net"


def storage_uris(service: Field) -> Iterator[Field]:
    """What the controller asks about: the URI of a model, or of a container of one's own."""
    for predictor in select(service, "spec.(predictor|canary[].predictor)"):
        yield from (uri for uri in select(predictor, f"{MODEL}.storageUri") if uri.value)
        for container in select(predictor, "containers[]"):
            for variable in container["env"].each() if container["name"].value == "kserve-container" else ():
                if variable["name"].value == STORAGE_URI and variable["value"].value:
                    yield variable["value"]


def warnings(service: Field) -> Iterator[ApiWarning]:
    """A known scheme, a path, or what a ClusterStorageContainer of the cluster supports; and secrets without effect."""
    for uri in storage_uris(service):
        if not _is_known(uri.value):
            scheme, schemes = uri.value.partition("://")[0], ", ".join(f"{scheme}://" for scheme in SCHEMES)
            yield ApiWarning(
                uri.path,
                f"without a ClusterStorageContainer for {scheme}:// the controller says: StorageURI not supported: "
                f"storageUri, must be one of: [{schemes}] or match https://{{}}.{BLOB}/{{}}/{{}} "
                f"or be an absolute or relative local path. StorageUri [{uri.value}] is not supported",
            )
    for model in select(service, f"spec.predictor.{MODEL}"):
        scheme = str(model["storageUri"].value).partition("://")[0]
        if model["confidential"]["enabled"].value and scheme in WITHOUT_EFFECT:
            yield ApiWarning(model["confidential"].path, f"confidential has no effect with {WITHOUT_EFFECT[scheme]}")


WITHOUT_EFFECT = {
    "oci": "OCI URIs; OCI image decryption is handled by the container runtime via runtimeClassName",
    "pvc": "PVC URIs; the storage-initializer is not injected for PVC volumes",
}


def _is_known(uri: str) -> bool:
    if not re.search(r"\w://", uri):
        return True
    if BLOB in uri:
        return bool(re.search(rf"https://(.+?)\.{BLOB}/(.+)", uri))
    return uri.partition("://")[0] in (*SCHEMES, *OF_THE_CHART)


# ---------------------------------------------------------------------------------------------- several at a time

BOTH = "Setting both StorageURI and StorageURIs is not supported."
SOURCE: Rules = [
    ("uri", holds(bool, "storage URI cannot be empty")),
    (
        "mountPath",
        holds(lambda path: path != "/", "storage path cannot be empty"),
        holds(lambda path: path.startswith("/"), "storage path must be absolute"),
        holds(lambda path: ".." not in path, "storage path cannot contain '..' for security reasons"),
    ),
]


def _several(component: Field) -> Iterator[Problem]:
    """One way to name storage; what is downloaded has a folder in common, what is mounted a path each."""
    sources = component["storageUris"]
    single = [uri for uri in select(component, f"{MODEL}.storageUri") if uri.value is not None]
    if single and sources.value:
        yield Problem(sources.path, BOTH)
    paths: dict[bool, list[str]] = {True: [], False: []}
    for source in sources.each():
        mounted = str(source["uri"].value).startswith("pvc://")
        paths[mounted].append(source["mountPath"].value or "/mnt/models")
    if len(downloads := paths[False]) > 1:
        yield from _together(sources, downloads, paths[True])


def _together(sources: Field, downloads: list[str], mounts: list[str]) -> Iterator[Problem]:
    if len(set(mounts)) < len(mounts):
        yield Problem(sources.path, "PVC storage paths must be unique")
    if commonpath([f"/{path.strip('/')}" for path in downloads]) == "/":
        why = f"[{' '.join(downloads)}] have no common parent beyond root"
        yield Problem(sources.path, f"storage paths must have a common parent directory. Current paths: {why}")


# --------------------------------------------------------------------------------------- variables, secrets, and both


def _variables(component: Field) -> Iterator[Problem]:
    """A path of Python would let somebody else's code in."""
    for container in select(component, f"(containers[]|initContainers[]|{MODEL[1:-1]})"):
        name = container["name"].value or ""
        for variable in container["env"].each():
            if variable["name"].value == "PYTHONPATH":
                why = f'setting PYTHONPATH in container "{name}" is not allowed for security reasons'
                yield Problem(variable.path, why)
            if name == "transformer-container" and variable["name"].value == STORAGE_URI:
                yield Problem(variable.path, "storage uri should not be specified in transformer container")


def _confidential(model: Field) -> Iterator[Problem]:
    secret = model["confidential"]
    if not secret["enabled"].value:
        return
    if not model["storageUri"].value:
        yield Problem(secret.path, "confidential model serving requires storageUri to be set")
    name = secret["resourceId"]
    if name.value and not re.fullmatch(r"kbs:///[\w.-]+/[\w.-]+/[\w.-]+", name.value, re.A):
        yield name.invalid("must be in the format kbs:///<repo>/<type>/<tag>")


def _one_storage(model: Field) -> Iterator[Problem]:
    """The controller's: a URI of its own would replace the path in the storage that a secret describes."""
    if model["storageUri"].value is not None and model["storage"]["path"].value is not None:
        yield Problem(model["storage"].path, "must provide only one of storageUri and storage.path")


def _logger(logger: Field) -> Iterator[Problem]:
    storage = logger["storage"]
    if storage.value is not None and not all(name in storage.value for name in ("key", "parameters", "path")):
        yield Problem(storage.path, "invalid logger storage configuration")


COMPONENT: Rules = [
    *below("storageUris[]", SOURCE),
    ("", _several),
    ("", _variables),
    ("logger", _logger),
]
ACROSS: Rules = [
    *below("spec.(predictor|transformer|explainer|canary[].predictor)", COMPONENT),
    (f"spec.predictor.{MODEL}", _confidential),
    (f"spec.(predictor|canary[].predictor).{MODEL}", _one_storage),
]
