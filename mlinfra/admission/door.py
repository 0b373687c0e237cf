"""The one door: `validate` for every kind, by apiVersion and kind; a kind's rules are loaded when they are asked.

`check_manifest` is the side entrance for what our nouns made: the rules alone, without the decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from mlinfra.admission.rules import ApiWarning, Check, Field, Problem, decoded, one_of, refuse
from mlinfra.manifest import Manifest

if TYPE_CHECKING:
    from mlinfra.admission.custom import CustomKind

CUSTOM = {
    "argoproj.io": "argo",
    "autoscaling.k8s.io": "vpa",
    "inference.networking.x-k8s.io": "picker",
    "keda.sh": "keda",
    "mlinfra.example": "node_pool",
    "kubescheduler.config.k8s.io": "scheduler",
    "kueue.x-k8s.io": "kueue",
    "llm-d.ai": "picker",
    "ray.io": "rayservice",
    "serving.kserve.io": "kserve",
}
"""Modules of rules by the group of the custom resource; each has `KINDS` by name."""

WITHOUT_KIND = ("mig-parted configuration", "sharing")
"""Configuration files that our nouns read, and that have no `kind`."""

DRY_RUN = "`kubectl apply --dry-run=server` asks a server that has it"


def validate(obj: Manifest) -> list[Problem | ApiWarning]:
    """Why the API server, a webhook or a controller would refuse the object; empty when it is fine.

    A `Problem` is a refusal; an `ApiWarning` says what is accepted with a word, or was not checked here.
    """
    if not isinstance(obj, Mapping):
        return [Field(obj, "manifest").invalid("must be an object")]
    obj = decoded(obj)
    if "applications" in obj and "kind" not in obj:  # a configuration of Serve
        from mlinfra.admission import serve

        return [*serve.validate(obj)]
    if "pipelineInfo" in obj and "kind" not in obj:  # a pipeline that KFP's SDK compiled
        from mlinfra.admission import kfp

        return [*kfp.verdict(obj)]
    if "kind" not in obj and {"mig-configs", "sharing", "flags"} & obj.keys():  # one of mig-parted or a device plugin
        from mlinfra.admission import gpu_config

        return [*gpu_config.validate(obj)]
    if kind := _custom_kind(obj):
        return kind.verdict(obj)
    from mlinfra.admission import core, schema

    of_kind = schema.of_kind(str(obj.get("apiVersion")), str(obj.get("kind")))
    if of_kind is None:
        return [_unknown_kind(obj)]
    return core.verdict(obj, of_kind)


def rule_problems(obj: Manifest) -> list[Problem]:
    """What is refused of an object that this package makes: no warnings, and of a core kind no decoding."""
    if kind := _custom_kind(obj):
        return [problem for problem in kind.verdict(obj) if isinstance(problem, Problem)]
    from mlinfra.admission import core

    return list(core.rule_problems(obj))


def check_manifest(obj: Manifest) -> None:
    """Raise Invalid when one of the kind's rules refuses the object."""
    refuse(full_name(obj), rule_problems(obj))


def full_name(obj: Manifest) -> str:
    """The object as an error names it: `Deployment.apps "bert"`."""
    group = _group(obj) if "apiVersion" in obj else ""
    kind = f"{obj['kind']}.{group}" if group else str(obj["kind"])
    return f'{kind} "{obj["metadata"].get("name", "")}"' if "metadata" in obj else kind


def accepted(kind: str, obj: Manifest, *limits: Check) -> Manifest:
    """The object without null fields; Invalid when it is refused, of another kind, or more than our noun can hold."""
    if isinstance(obj, Mapping) and "kind" not in obj and kind not in WITHOUT_KIND:
        refuse(kind, [_unknown_kind(obj)])
    if isinstance(obj, Mapping) and "kind" in obj:
        refuse(kind, one_of(kind)(Field(obj)["kind"]))
        refuse(kind, _unknown_version(obj))
    refuse(named(kind, obj), validate(obj))
    known: Manifest = decoded(obj)
    for limit in limits:
        refuse(kind, limit(Field(known)))
    return known


def named(kind: str, obj: Manifest) -> str:
    """The object as a refusal names it where there may be many: `NodePool "a100"`."""
    metadata = obj.get("metadata") if isinstance(obj, Mapping) else None
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return f'{kind} "{name}"' if isinstance(name, str) and name else kind


def _unknown_version(obj: Manifest) -> Iterator[Problem]:
    from mlinfra.admission import schema

    kind, version = str(obj["kind"]), str(obj.get("apiVersion"))
    if not _custom_kind(obj) and schema.of_kind(version, kind) is None:
        known = schema.versions(kind) + _custom_versions(kind)
        yield Field(obj)["apiVersion"].invalid(f"{kind} is known here in {', '.join(known)}")


def _custom_versions(kind: str) -> list[str]:
    """The versions of a custom resource that are known here."""
    kinds = [_kinds(module)[kind] for module in sorted(set(CUSTOM.values())) if kind in _kinds(module)]
    return [version for each in kinds for version in (each.api_version, *each.older)]


def _kinds(module: str) -> Mapping[str, CustomKind]:
    """The custom kinds of a module of rules, which is imported now."""
    kinds: Mapping[str, CustomKind] = import_module(f"mlinfra.admission.{module}").KINDS
    return kinds


def _group(obj: Manifest) -> str:
    """The group in the apiVersion; "" for the core group."""
    return str(obj.get("apiVersion")).rpartition("/")[0]


def _custom_kind(obj: Manifest) -> CustomKind | None:
    """The custom kind of an object in a version that is served, or None."""
    group = _group(obj)
    if group not in CUSTOM:
        return None
    kind = _kinds(CUSTOM[group]).get(str(obj.get("kind")))
    served = kind and obj.get("apiVersion") in (kind.api_version, *kind.older)
    return kind if served else None


def _unknown_kind(obj: Manifest) -> Problem | ApiWarning:
    """A Problem for a known kind in another version and for Kubernetes' own groups; a warning for any other group."""
    from mlinfra.admission import schema

    version, kind, group = str(obj.get("apiVersion")), str(obj.get("kind")), _group(obj)
    another_version = group in CUSTOM and kind in _kinds(CUSTOM[group])
    if another_version or "." not in group or group in schema.groups():
        return Problem("kind", f'no matches for kind "{kind}" in version "{version}"')
    return ApiWarning("kind", f"not checked here: {kind} in {version}; {DRY_RUN}")
