"""Renews the README's table of conformance: cases a file, how many agree, and the known differences."""

from __future__ import annotations

import sys
from pathlib import Path

from test_conformance import ADAPTERS, cases, disagreements

CASES = Path(__file__).parent / "cases"
README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- conformance: begin -->", "<!-- conformance: end -->"

UPSTREAM = {
    "dra_allocation.json": "DRA: the allocator (`allocator_testing.go`); MIG devices by NVIDIA's names and counters",
    "fgd_expected.json": "fragmentation: the study's units, and its table for six policies within 0.5 to 0.8 points",
    "hpa_behavior.json": "HPA: policies, stabilization, defaults (`horizontal.go`, `defaults.go`)",
    "hpa_controller.json": "HPA: whole passes of the controller (`horizontal.go`)",
    "hpa_generated.json": "HPA: random inputs run through Kubernetes 1.20.2, where it decides as today",
    "hpa_replica_calculator.json": "HPA: replica calculator (`replica_calculator.go`)",
    "kpa.json": "Knative: ticks, windows, targets, defaults (`autoscaler.go`, `bucketing.go`), run through v1.23.0",
    "kserve_keda.json": "KServe: HPA, revision annotations, canary traffic; KEDA: one poll, bounds, activation",
    "llm_picker.json": "endpoint picker: scorers, picks, prefix index, saturation (llm-d), KServe's default profiles",
    "llm_scheduler.json": "vLLM: steps, KV blocks, latencies, capacity (`v1/core/`, run: 0.33.0); measured steps",
    "mig_placements.json": "MIG: profiles and their places, documented sequences (MIG User Guide r580)",
    "node_autoscaling.json": "cluster-autoscaler: estimate, expanders, scale-up and scale-down, drain, backoff (1.37)",
    "nodefit_scoring.json": "kube-scheduler: NodeResourcesFit's strategies, normalization, sampling (`noderesources/`)",
    "preemption.json": "kube-scheduler: victims, and the node they go from (`default_preemption_test.go`)",
    "ray_serve.json": "Ray Serve: policy, delays, factors, aggregation of the metric, run through ray 2.60.0",
    "strategic_merge.json": "Helm: three-way strategic merges, patch and result (`strategicpatch/patch_test.go`)",
    "tas_assignment.json": "Kueue: topology-aware scheduling, assignments and reasons (`tas_cache_test.go`)",
    "vpa_histogram.json": "VPA: buckets and the decaying histogram (`util/`), run through VPA 1.7.1",
    "vpa_recommender.json": "VPA: samples, memory peaks, OOMs, recommendations (`model/`, `logic/`)",
    "manifest_semantics.json": "manifests: verdicts of a Kubernetes 1.36 API server, and the field that it names",
}

KNOWN_DIFFERENCES = [
    "HPA: a scale target that cannot be read (FailedGetScale) and ambiguous selectors are not modelled.",
    "HPA: label selectors have `matchLabels` only, and every pod given is one that the selector matches.",
    "HPA: a policy value so large that the controller's 32-bit sum would wrap does not wrap here.",
    "Knative: of the way to zero the probing of the activator and its failures are not modelled.",
    "KServe: explainers, several nodes, loggers, batchers, tracing: their fields are known, few rules.",
    "KServe: runtimes are those of its Helm chart v0.20.0, modelcars are on, as there; no rules of routes, no status.",
    "KServe: a storage scheme that only a ClusterStorageContainer can know is a warning.",
    "Endpoint picker: no flow control, sessions, token-exact prefixes, latency prediction; prompts are text.",
    "Endpoint picker: blocks evicted while one long prompt is added are gone; upstream still finds them.",
    "KServe: of an LLMInferenceService the rules of an inline HTTPRoute and updates are not checked.",
    "KubeRay: feature gates are at their defaults, and a field behind one that is off is a warning.",
    "KEDA: pausing, forced activation and fallback are not modelled; a formula is checked and not computed.",
    "KEDA: the required metadata of single scalers, and rules that need other objects, are not known.",
    "KEDA: targets are read as `threshold` or under the names of known queues; `replay` keeps no hours for cron.",
    "VPA: the recommender only; the updater's evictions are not modelled; one confidence interval for both resources.",
    "LLM server: no asynchronous scheduling, speculative decoding, adapters, images, KV transfer, impatient clients.",
    "Ray Serve LLM: `engine_kwargs` are not checked, which Ray holds against vLLM; nor are its other two builders.",
    "LLM server: requests end at `max_tokens` or the model's length; a step's time is a roofline with 8 % error.",
    "LLM pool: requests arrive whether or not earlier ones are answered; no pods for prefill alone, no flow control.",
    "Argo: order in a containerSet, a resource's manifest and the inside of inline templates are not linted.",
    "Node autoscaler: no ports, volumes, topology spread, claims, DaemonSets on new nodes or ProvisioningRequests.",
    "Node autoscaler: pods go to the first node that fits; upstream goes on from the node that it took last.",
    "Closed loop on nodes: one kind of pod, one request a slot; eviction takes no time; a cloud always has nodes.",
    "Scheduler: volumes, ports, pod affinity, topology spread and back-off are not modelled; `place` reads no claims.",
    "Scheduler: ties go to the first node, or to a seeded draw; binding and eviction take no time.",
    "Scheduler: a gang is placed whole or not at all; it preempts where switched on (as upstream: beta and off by "
    "default in 1.37); evicted gangs leave whole; a PodGroup's own topology (alpha) is not modelled.",
    "Kueue: topologies without leaders, slices of several layers, preferred affinity, failed nodes, taints, selectors.",
    "DRA: claims from templates, devices of one node; no shared claims, consumable capacity, admin access or "
    "distinctAttribute; three forms of CEL.",
    "DRA: where a selector asks for an attribute that a device lacks, upstream stops with an error; here: no match.",
    "Fragmentation: means of 3 seeds beside the study's 10; on its raw lists (`--openb DIR`) one run agrees exactly.",
    "MIG: where the driver puts an instance is inferred from sequences documented for the A100.",
    "Helm: sets are one value for server-side apply; what may not change is known for the kinds that charts have.",
    "Manifests: Secrets, claims of volumes, roles, quotas are held against their schema alone; no CEL, no plugins.",
    "Manifests: Windows pods, ephemeral containers, names and time zones in cron schedules are not checked.",
    "Manifests: status, managed fields and the annotations that a cluster adds are never part of an object.",
]


def table() -> str:
    rows = ["| cases | what | agree |", "| --- | --- | --- |"]
    for file in sorted(ADAPTERS):
        built = [case for case in cases(CASES / file) if "lists" not in case]
        agreed = sum(not disagreements(file, case) for case in built)
        rows.append(f"| `{file}` | {UPSTREAM[file]} | {agreed} of {len(built)} |")
    return "\n".join([*rows, "", "Known differences:", "", *(f"- {line}" for line in KNOWN_DIFFERENCES)])


def renewed(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> int:
    README.write_text(renewed(README.read_text("utf-8")), "utf-8")
    print(f"renewed  {README.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
