"""The pictures of notebook 01: what an InferenceService becomes, its paths, cold starts, and a canary's looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mlinfra import study
from mlinfra.course import starts
from mlinfra.kserve import CanaryRollout, InferenceService, canary, reconcile
from mlinfra.study.figure import COLOURS, GRID, INK, LEFT, RIGHT, SOFT, WIDTH, Figure, svg, text

# ------------------------------------------------------------------------------------------- objects, and their paths


def objects(service: InferenceService, gateway_api: bool = True) -> Figure:
    """The tree of objects below an InferenceService, with the containers of a predictor's pod."""
    made = reconcile.reconcile(service.manifest(), gateway_api)
    kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(each.kind for each in made[1:]).items())
    owner = next(i for i, each in enumerate(made) if each.kind == "Deployment")
    pods = (made[owner].depth + 1, "Pods", ", ".join(reconcile.containers(service.manifest())))
    rows = [*made[: owner + 1], pods, *made[owner + 1 :]]
    return study.tree(f"{service.name} in {service.mode} mode", f"It becomes {kinds}.", rows)


def standard_path() -> Figure:
    """A request's way to the model in Standard mode, with a transformer in front."""
    arrows = [
        study.Arrow("client", "gateway", "POST /v1/models/…:predict"),
        study.Arrow("gateway", "transformer", "HTTPRoute, Service"),
        study.Arrow("transformer", "model server", "the predictor's Service"),
        study.Arrow("HPA", "model server", "replicas", dashed=True),
        study.Arrow("model storage", "model server", "copied at the start", dashed=True),
    ]
    layers = {
        "client": ["client"],
        "cluster edge": ["gateway"],
        "transformer": ["transformer"],
        "predictor": ["model server", "HPA"],
        "storage": ["model storage"],
    }
    said = (
        "A request goes from the client to the gateway, by an HTTPRoute and a Service to a pod of the transformer, and "
        "from there by the predictor's Service to a model server. The HPA sets the replicas, at least 1. The model is "
        "copied from storage when a pod starts."
    )
    return study.diagram("The path of a request in Standard mode", said, layers, arrows)


def knative_path() -> Figure:
    """A request's way to one component in Knative mode; predictor and transformer have one each."""
    arrows = [
        study.Arrow("client", "Istio gateway", "POST /v1/models/…:predict"),
        study.Arrow("Istio gateway", "activator", "no pods, or little spare"),
        study.Arrow("activator", "queue-proxy", "when there is a slot"),
        study.Arrow("Istio gateway", "queue-proxy", "spare capacity"),
        study.Arrow("queue-proxy", "model server"),
        study.Arrow("storage-initializer", "model server", "files", dashed=True),
        study.Arrow("activator", "autoscaler (KPA)", "waiting", dashed=True),
        study.Arrow("queue-proxy", "autoscaler (KPA)", "in flight", dashed=True),
    ]
    layers = {
        "client": ["client"],
        "cluster edge": ["Istio gateway"],
        "Knative": ["activator", "autoscaler (KPA)"],
        "revision": ["", "queue-proxy"],
        "containers": ["storage-initializer", "model server"],
    }
    said = (
        "A request goes from the client to the gateway. While the revision has no pods, or little spare capacity, it "
        "goes to the activator, which holds it until a pod has a slot; else straight to a pod. In the pod the "
        "queue-proxy lets at most containerConcurrency requests through to the model server, whose files the "
        "storage-initializer has copied before. Activator and queue-proxy "
        "report to the autoscaler, which sets the replicas, down to 0."
    )
    frame = {"pod": ["queue-proxy", "storage-initializer", "model server"]}
    return study.diagram("The path of a request in Knative mode", said, layers, arrows, frame)


def control_path() -> Figure:
    """Who makes what of an InferenceService in Standard mode."""
    arrows = [
        study.Arrow("kubectl apply", "API server"),
        study.Arrow("API server", "KServe's webhooks", "defaults, refusals"),
        study.Arrow("KServe's controller", "API server", "watches", dashed=True),
        *(study.Arrow("KServe's controller", made) for made in ("Deployment", "Service", "HPA", "HTTPRoutes")),
        study.Arrow("Deployment", "pods", "ReplicaSet, scheduler, kubelet"),
        study.Arrow("HPA", "Deployment", "replicas", dashed=True),
    ]
    layers = {
        "you": ["kubectl apply"],
        "API": ["API server", "KServe's webhooks"],
        "controller": ["KServe's controller"],
        "objects": ["Service", "HTTPRoutes", "Deployment", "HPA"],
        "nodes": ["pods"],
    }
    said = (
        "kubectl sends the InferenceService to the API server, which asks KServe's webhooks for defaults and refusals "
        "and stores it. KServe's controller watches it, and makes a Deployment, a Service, an HPA and HTTPRoutes. "
        "Kubernetes makes pods of the Deployment; the HPA changes its replicas."
    )
    return study.diagram("The control path in Standard mode", said, layers, arrows)


# ------------------------------------------------------------------------------------------------------- cold starts


def cold_starts(ways: Mapping[str, Mapping[str, float]]) -> Figure:
    """Each way to start as a bar of its parts."""
    total = {way: sum(parts.values()) for way, parts in ways.items()}
    said = "; ".join(f"{way}: {seconds:.0f} s" for way, seconds in total.items()) + "."
    return study.bars("A cold start, part by part", said, ways, "s", top=max(total.values()))


def measured_starts() -> Figure:
    """Four measured starts of a process as bars of their parts."""
    longest = {name: max(parts, key=lambda part: parts[part]) for name, parts in starts.starts().items()}
    said = "The longest part: " + "; ".join(f"{name}: {part}" for name, part in longest.items()) + "."
    return study.bars("From the import to the first answer, on one H100", said, starts.starts(), "s")


# ----------------------------------------------------------------------------------------------------- a canary's looks

STABLE_RATE, LIMIT_RATE, ROLLOUTS = 0.005, 0.01, 100
LABEL = "z at each look (dashed: the boundary; an open dot: rolled back)"
LOWEST_Z, HIGHEST_Z, PLOT_TOP, PLOT_HEIGHT = -4.0, 8.0, 50, 240


@dataclass(frozen=True)
class Looks:
    """Simulated rollouts of one plan: z at each look of each, which were rolled back, minutes to the last look."""

    z: Sequence[Sequence[float]]
    rolled_back: Sequence[bool]
    minutes: float


def simulate_looks(rollout: CanaryRollout, share: int, errors_per_1000: int, per_s: int) -> Looks:
    """100 rollouts with the canary's share and true error rate; the stable version fails at 0.5 %."""
    plan = replace(rollout, stages=(share, 100), hold_s=0)
    equal_arms_per_s = 2 * share / 100 * (1 - share / 100) * per_s
    every_s = canary.largest_sample(STABLE_RATE, LIMIT_RATE) / equal_arms_per_s / canary.LOOKS * 1.001
    traffic = canary.Traffic(per_s, STABLE_RATE, errors_per_1000 / 1000)
    seen, rolled_back = [], []
    for seed in range(ROLLOUTS):
        progresses = [progress for _, progress in canary.trial(plan, traffic, seed, every_s)]
        seen.append([canary.evidence(each.counts[:1]).z for each in progresses[: canary.LOOKS]])
        rolled_back.append(progresses[-1].outcome == canary.ROLLED_BACK)
    return Looks(seen, rolled_back, every_s * canary.LOOKS / 60)


def looks(rollout: CanaryRollout, share: int, errors_per_1000: int, per_s: int) -> Figure:
    """A dot for z at each look of each of 100 rollouts; an open one where the rollout is rolled back."""
    seen = simulate_looks(rollout, share, errors_per_1000, per_s)
    title = f"Canary of {share} % of {per_s} requests/s, {errors_per_1000 / 10:g} % errors (stable: 0.5 %)"
    said = (
        f"{sum(seen.rolled_back)} of {ROLLOUTS} rollouts are rolled back. "
        f"The last look comes after {seen.minutes:,.0f} minutes."
    )
    bottom = PLOT_TOP + PLOT_HEIGHT
    body = [text(14, 20, title, size=14, weight="bold"), text(LEFT, PLOT_TOP - 6, LABEL, colour=INK)]
    for z in range(int(LOWEST_Z), int(HIGHEST_Z) + 1, 2):
        body.append(f'<path d="M{LEFT} {_z_y(z):.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        body.append(text(LEFT - 6, _z_y(z) + 4, str(z), anchor="end"))
    for look in range(1, canary.LOOKS + 1):
        body += [_boundary(look), _dots(seen, look)]
        minutes = seen.minutes * look / canary.LOOKS
        body.append(text(_look_x(look), bottom + 16, f"look {look}: {minutes:,.0f} min", anchor="middle"))
    body.append(text(LEFT, bottom + 40, said, colour=INK))
    return Figure(svg(bottom + 52, title, said, "".join(body)), said)


def _look_x(look: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (look - 0.5) / canary.LOOKS


def _z_y(z: float) -> float:
    shown = min(max(z, LOWEST_Z), HIGHEST_Z)
    return PLOT_TOP + PLOT_HEIGHT * (HIGHEST_Z - shown) / (HIGHEST_Z - LOWEST_Z)


def _boundary(look: int) -> str:
    """A short line at the look's plain boundary, with its value."""
    x, z = _look_x(look), canary.boundary(look)
    line = f'<path d="M{x - 34:.1f} {_z_y(z):.1f}h68" stroke="{SOFT}" stroke-width="2" stroke-dasharray="7 3"/>'
    return line + text(x + 37, _z_y(z) + 4, f"{z:.2f}")


def _dots(seen: Looks, look: int) -> str:
    """A dot for each rollout that comes to the look, side by side; an open one where it is rolled back."""
    paths = {False: "", True: ""}
    for i, (zs, rolled_back) in enumerate(zip(seen.z, seen.rolled_back, strict=True)):
        if len(zs) >= look:
            x = _look_x(look) + (i - ROLLOUTS / 2) * 0.64
            paths[rolled_back and len(zs) == look] += f"M{x:.1f} {_z_y(zs[look - 1]):.1f}h.1"
    parts = [(paths[False], COLOURS[0], 4), (paths[True], COLOURS[1], 6), (paths[True], "#ffffff", 3)]
    return "".join(
        f'<path d="{path}" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>'
        for path, colour, width in parts
        if path
    )
