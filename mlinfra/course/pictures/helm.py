"""The pictures of notebook 6: the chart's files, values in layers, a rollout, two kinds of merge, regions, the bill."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from mlinfra import study
from mlinfra.course import costs
from mlinfra.course.charts import changed_lines, image_of
from mlinfra.helm import Chart
from mlinfra.helm.chart import environment, layered
from mlinfra.helm.deployment import Moment, Rollout
from mlinfra.helm.upgrade import Managed, patched
from mlinfra.manifest import Manifest
from mlinfra.study.figure import FILLS, INK, SOFT, WIDTH, escape, svg, text

# ------------------------------------------------------------------------------------------------------- the chart

ROLES = {
    "Chart.yaml": "about",
    "Chart.lock": "lock",
    "values.yaml": "values",
    "values.schema.json": "schema",
    "_helpers.tpl": "helpers",
    "NOTES.txt": "notes",
}


def role(path: str) -> str:
    """What a file of a chart is for."""
    if path.startswith("charts/"):
        return "dependency"
    return "test" if "/tests/" in path else ROLES.get(path.rpartition("/")[2], "template")


def chart_files(chart: Chart) -> study.Figure:
    """The files of a chart, each with what it is for."""
    files = [(1, role(path), path) for path in sorted(chart.files)]
    description = (
        f"{len(files)} files: defaults with a schema, helpers, templates, a test, and a dependency in charts/."
    )
    return study.tree("A chart is its files", description, [(0, "chart", "bert-inference"), *files])


# ------------------------------------------------------------------------------------------------- values in layers

LINE_HEIGHT, LETTER, DIFF_LINES, LONGEST = 17, 8, 14, 78
MONOSPACE = "DejaVu Sans Mono, Consolas, monospace, Bitstream Vera Sans"


def layers(name: str, least: int, gpus: int) -> study.Figure:
    """What changes in an environment's rendered chart when a release sets the fewest replicas and the GPUs."""
    changes = {
        "replicaCount": least,
        "autoscaling": {"minReplicas": least},
        "gpu": {"enabled": gpus > 0, "count": max(1, gpus)},
    }
    after = Chart.inference().render(layered(environment(name), changes))
    lines = list(changed_lines(rendered(name), after))
    changed = sum(line[0] in "+-" for line in lines)
    description = (
        f"{name}, fewest replicas {least}, GPUs per replica {gpus}: {changed} lines of the rendered chart change."
    )
    return diff("What the values change", description, lines)


@lru_cache
def rendered(name: str) -> dict[str, str]:
    """The chart of an environment, rendered."""
    return Chart.inference().render(environment(name))


def diff(title: str, description: str, lines: Sequence[str]) -> study.Figure:
    """The lines of a diff in letters of one width, always in a picture of one height; more lines are counted."""
    shown = list(lines[:DIFF_LINES]) or ["nothing changes"]
    if len(lines) > DIFF_LINES:
        shown[-1] = f"and {len(lines) - DIFF_LINES + 1} lines more"
    body = text(14, 20, title, size=14, weight="bold")
    for i, line in enumerate(shown):
        body += _diff_line(line, 36 + i * LINE_HEIGHT)
    return study.Figure(svg(36 + DIFF_LINES * LINE_HEIGHT + 8, title, description, body), description)


def _diff_line(line: str, y: int) -> str:
    """The line on a tint for what is new or gone; every letter has its own place, whatever the font."""
    fill = {"+": FILLS[2], "-": FILLS[1]}.get(line[:1], "#ffffff")
    places = " ".join(str(20 + LETTER * i) for i in range(min(len(line), LONGEST)))
    words = f'<text x="{places}" y="{y + 13}" fill="{INK}" text-anchor="middle" font-family="{MONOSPACE}" '
    words += f'xml:space="preserve">{escape(line[:LONGEST])}</text>'
    return f'<rect x="14" y="{y}" width="{WIDTH - 28}" height="{LINE_HEIGHT}" fill="{fill}" opacity="0.35"/>' + words


# ------------------------------------------------------------------------------------------------------- the rollout

REPLICAS, LONGEST_ROLLOUT_MIN = 12, 50
PODS = {"old": "old", "new": "new", "serving, old and new": "serving", "waiting for a GPU": "pending"}


def rollout(surge: int, unavailable: int, spare: int) -> study.Figure:
    """Twelve replicas that start in 172 s and drain in 60 s: who serves, and which GPUs are in use."""
    plan = Rollout(REPLICAS, surge, unavailable, start_s=172, drain_s=60, gpus=REPLICAS + spare)
    outcome = plan.simulate()
    end = f"done after {outcome.done_s / 60:.1f} minutes" if outcome.done_s is not None else "stuck"
    late = "" if outcome.late_s is None else f"; at {outcome.late_s:.0f} s the progress deadline passes"
    description = (
        f"12 replicas, surge {surge}, {unavailable} unavailable, {spare} spare GPUs: {end}{late}. "
        f"Up to {outcome.peak_gpus} GPUs in use, at least {outcome.fewest_serving} of 12 serve."
    )
    available = [(0.0, float(REPLICAS + spare)), (float(LONGEST_ROLLOUT_MIN), float(REPLICAS + spare))]
    gpus = {"in use": _line(outcome.moments, "gpus"), "available": available}
    pods = {what: _line(outcome.moments, name) for what, name in PODS.items()}
    return study.steps(
        "A rolling update",
        description,
        study.Row("pods", pods, {"replicas": REPLICAS}, top=15),
        study.Row("GPUs", gpus, top=2 * REPLICAS),
    )


def _line(moments: Sequence[Moment], name: str) -> list[tuple[float, float]]:
    """One number of the moments over the minutes, up to the fixed end of the axis."""
    points = [(moment.at_s / 60, float(getattr(moment, name))) for moment in moments]
    return [*points, (LONGEST_ROLLOUT_MIN, points[-1][1])]


def rollout_table(plans: Mapping[str, Rollout]) -> study.Listing:
    """What each plan takes: minutes, GPUs, and the fewest pods that serve."""
    lines = [f"{'':30} {'takes':>15} {'most GPUs':>10} {'fewest serving':>15}"]
    for what, plan in plans.items():
        outcome = plan.simulate()
        takes = f"late at {outcome.late_s:.0f} s" if outcome.done_s is None else f"{outcome.done_s / 60:.1f} minutes"
        lines.append(f"{what:30} {takes:>15} {outcome.peak_gpus:10} {outcome.fewest_serving:15}")
    return study.Listing("20 replicas that start in 172 s:", "text", "\n".join(lines))


# ------------------------------------------------------------------------------------------------------- two merges


def said(obj: Manifest) -> str:
    """What a Deployment says of the two fields that the pictures follow."""
    return f"replicas: {obj['spec'].get('replicas', '-')}\nimage: {image_of(obj)}"


def three_way_merge(old: Manifest, new: Manifest, live: Manifest) -> study.Figure:
    """From the last release, the new chart and the live object to one patch, made by the client."""
    last, chart, cluster = (f"{what}\n{said(obj)}" for what, obj in _three(old, new, live).items())
    patch, after = "patch\nmade by Helm", f"object afterwards\n{said(patched(old, new, live))}"
    description = (
        "Helm compares three documents. The patch sets every field in which the new chart and the live object differ, "
        "and deletes what the last release had and the new chart has not. The API server applies the patch."
    )
    arrows = [
        study.Arrow(last, patch, "deletions"),
        study.Arrow(chart, patch, "changes"),
        study.Arrow(cluster, patch, "compared"),
        study.Arrow(patch, after, "PATCH"),
    ]
    boxes = {"three documents": [last, chart, cluster], "client": [patch], "API server": [after]}
    return study.diagram("Three-way merge in the client", description, boxes, arrows)


def _three(old: Manifest, new: Manifest, live: Manifest) -> dict[str, Manifest]:
    return {"last release": old, "new chart": new, "live object": live}


def field_owners(deployed: Managed) -> study.Figure:
    """Server-side apply: each manager, and the fields of the object that it owns."""
    image = ("spec", "template", "spec", "containers", ("name", "server"), "image")
    fields = {".spec.replicas": ("spec", "replicas"), ".spec.template … image": image}
    boxes = {name: f"{name}\n{_value(deployed.obj, name)}" for name in fields}
    owners = {name: deployed.owner_of(path) for name, path in fields.items()}
    helm, hpa = "helm\napplies the chart", "kube-controller-manager\nthe HPA, through /scale"
    managers = {"helm": helm, "kube-controller-manager": hpa}
    arrows = [study.Arrow(managers[o], boxes[name], "owns") for name, own in owners.items() for o in own]
    if owners[".spec.replicas"] == ["kube-controller-manager"]:
        arrows.append(study.Arrow(helm, boxes[".spec.replicas"], "another value: conflict"))
    owned = "; ".join(f"{name} is owned by {', '.join(own)}" for name, own in owners.items())
    rows = {"managers": [hpa, helm], "fields on the\nserver": list(boxes.values())}
    return study.diagram("Server-side apply: every field has an owner", f"{owned}.", rows, arrows)


def _value(obj: Manifest, name: str) -> str:
    return str(obj["spec"]["replicas"] if name == ".spec.replicas" else image_of(obj))


# ----------------------------------------------------------------------------------------------------- many regions


def regions(requests_per_s: float = 3000, per_replica: float = 10, busy: float = 0.7) -> study.Figure:
    """One service in three regions, each with room for half of a lost region's requests."""
    replicas = math.ceil(requests_per_s / 2 / (per_replica * busy))
    places = ("Virginia", "Dublin", "Tokyo")
    edges = [f"gateway\n{place}" for place in places]
    services = [f"{replicas} replicas\n{place}" for place in places]
    users, balancer = "users", "global load balancer\nhealth and load of each region"
    git, models = "Git repository\none folder per region", "model registry\nversions by digest"
    description = (
        f"Users reach the nearest healthy region through a global load balancer. Each of three regions has its own "
        f"cluster with {replicas} replicas, so two carry all {requests_per_s:,.0f} requests per second. Git and the "
        f"registry feed every region and are not on the path of a request."
    )
    arrows = [study.Arrow(users, balancer), *(study.Arrow(balancer, edge) for edge in edges)]
    arrows += [study.Arrow(edge, service) for edge, service in zip(edges, services, strict=True)]
    arrows += [study.Arrow(source, service, dashed=True) for service in services for source in (git, models)]
    rows = {"client": [users], "edge": [balancer], "regions": edges, "clusters": services, "sources": [git, models]}
    return study.diagram("One service in three regions", description, rows, arrows)


# ---------------------------------------------------------------------------------------------------------- the bill

ZERO, BAR_HEIGHT, LABELS_WIDTH = 300, 20, 130


def savings(bill_dollars: float, worth: Mapping[str, float]) -> study.Figure:
    """A bar for what each decision saves in a month, beside the whole bill; a decision that costs goes to the left."""
    best = max(worth, key=lambda decision: worth[decision])
    description = (
        f"The whole bill is {bill_dollars:,.0f} dollars a month. The decision worth most is “{best}”: "
        f"{worth[best]:,.0f} dollars; {sum(dollars < 0 for dollars in worth.values())} of {len(worth)} cost money."
    )
    scale = (WIDTH - ZERO - LABELS_WIDTH) / max(bill_dollars, *worth.values())
    body, title = text(14, 20, "What each decision saves a month", size=14, weight="bold"), "The worth of each decision"
    rows = [("the whole bill, for comparison", bill_dollars, "#ffffff")]
    rows += [(what, dollars, FILLS[2] if dollars > 0 else FILLS[1]) for what, dollars in worth.items()]
    for i, (what, dollars, fill) in enumerate(rows):
        body += _signed_bar(what, dollars, fill, scale, 36 + 28 * i)
    bottom = 36 + 28 * len(rows)
    body += f'<path d="M{ZERO} 32V{bottom}" stroke="{SOFT}"/>'
    return study.Figure(svg(bottom + 8, title, description, body), description)


def _signed_bar(what: str, dollars: float, fill: str, scale: float, y: int) -> str:
    """A bar to the right of zero for a saving, to the left for a cost, with its number behind it."""
    width = abs(dollars) * scale
    x = ZERO if dollars >= 0 else ZERO - width
    bar = f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT}" fill="{fill}" stroke="{SOFT}"/>'
    number = f"{dollars:,.0f} dollars" if dollars >= 0 else f"costs {-dollars:,.0f} dollars"
    label = text(max(x, ZERO) + (width if dollars >= 0 else 0) + 8, y + 15, number, colour=INK)
    return text(14, y + 15, what, colour=INK) + bar + label


TARGETS = tuple(round(1 + 0.2 * i, 1) for i in range(15))


def targets() -> study.Figure:
    """The autoscaler's target against the bill of the month, and against the requests that come late."""
    runs = {target: costs.serve(target=target) for target in TARGETS}
    dollars = {target: costs.month(run).dollars for target, run in runs.items()}
    late = {target: 100 * (1 - run.attained(5)) for target, run in runs.items()}
    cheapest = min(dollars, key=lambda target: dollars[target])
    last, chosen = TARGETS[-1], [(target, dollars[2.8]) for target in (TARGETS[0], 2.8)]
    description = (
        f"From a target of {TARGETS[0]} to {cheapest} the bill falls from {dollars[TARGETS[0]]:,.0f} to "
        f"{dollars[cheapest]:,.0f} dollars and no request is late. At {last} the bill rises to {dollars[last]:,.0f} "
        f"dollars and {late[last]:.1f} % take longer than 5 s."
    )
    return study.steps(
        "What the HPA's target costs",
        description,
        study.Row("dollars a month", {"bill": list(dollars.items()), "at the chosen 2.8": chosen}, steps=False),
        study.Row("requests later than 5 s, %", {"late": list(late.items())}, steps=False, top=4),
        x_label="target: requests in flight per replica, of the 4 that it can take",
    )
