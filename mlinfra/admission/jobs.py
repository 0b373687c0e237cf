"""Jobs and CronJobs: pkg/apis/batch/validation of Kubernetes 1.37."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from mlinfra.admission.common import SELECTOR, not_negative
from mlinfra.admission.pods import POD
from mlinfra.admission.rules import (
    Field,
    Needed,
    Problem,
    Rules,
    below,
    dns_label,
    dns_subdomain,
    holds,
    label_key,
    label_value,
    one_of,
    select,
)
from mlinfra.admission.templates import matches_its_pods, template_metadata

MOST_INDEXES = 100_000
MOST_OF_MANY = 10_000
"""Pods at once, and failed indexes, of a Job with more indexes than MOST_INDEXES and a limit for each."""
INDEXED = "requires indexed completion mode"


def ends(spec: Field) -> Iterator[Problem]:
    """A Job's pods may not run for ever; with a policy for failures the Job alone starts them again."""
    policy = spec["template"]["spec"]["restartPolicy"]
    if policy.value in (None, "", "Always"):
        yield policy.required('valid values: "OnFailure", "Never"')
    elif policy.value not in ("OnFailure", "Never"):
        yield policy.unsupported(["OnFailure", "Never"])
    elif spec["podFailurePolicy"].value is not None and policy.value != "Never":
        yield policy.invalid('only "Never" is supported when podFailurePolicy is specified')


# ------------------------------------------------------------------------------------------------------ Indexed Jobs


def indexes(spec: Field) -> Iterator[Problem]:
    """What counts by index is for Indexed Jobs alone."""
    if spec["completionMode"].value == "Indexed":
        yield from counts_of_indexes(spec)
        yield from counts_of_many_indexes(spec)
    else:
        names = ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy")
        yield from (spec[name].invalid(INDEXED) for name in names if spec[name].value is not None)
    if spec["maxFailedIndexes"].value is not None and spec["backoffLimitPerIndex"].value is None:
        yield spec["backoffLimitPerIndex"].required("when maxFailedIndexes is specified")


def counts_of_indexes(spec: Field) -> Iterator[Problem]:
    """There are as many indexes as completions, so these are given, and not fewer than what is counted of them."""
    completions, parallelism, failed = spec["completions"], spec["parallelism"], spec["maxFailedIndexes"]
    if completions.value is None:
        yield completions.required("when completion mode is Indexed")
    if (parallelism.value or 0) > MOST_INDEXES:
        yield parallelism.invalid(f"must be less than or equal to {MOST_INDEXES} when completion mode is Indexed")
    if completions.value is not None and (failed.value or 0) > completions.value:
        yield failed.invalid("must be less than or equal to completions")
    if (failed.value or 0) > MOST_INDEXES:
        yield failed.invalid(f"must be less than or equal to {MOST_INDEXES}")


def counts_of_many_indexes(spec: Field) -> Iterator[Problem]:
    """Their numbers stand in the status, which may not become too long."""
    if (spec["completions"].value or 0) <= MOST_INDEXES or spec["backoffLimitPerIndex"].value is None:
        return
    if spec["maxFailedIndexes"].value is None:
        yield spec["maxFailedIndexes"].required(f"must be specified when completions is above {MOST_INDEXES}")
    for count in (spec["parallelism"], spec["maxFailedIndexes"]):
        if (count.value or 0) > MOST_OF_MANY:
            where = f"when completions are above {MOST_INDEXES} and used with backoff limit per index"
            yield count.invalid(f"must be less than or equal to {MOST_OF_MANY} {where}")


def success_rules(spec: Field) -> Iterator[Problem]:
    """Each rule names indexes that there are, or how many have to succeed."""
    completions = spec["completions"].value
    if spec["completionMode"].value != "Indexed" or completions is None:
        return
    for rule in select(spec, "successPolicy.rules[]"):
        count, names = rule["succeededCount"], rule["succeededIndexes"]
        if count.value is None and names.value is None:
            yield rule.required("at least one of succeededCount or succeededIndexes must be specified")
        if (count.value or 0) > completions:
            yield count.invalid(f"must be less than or equal to {completions} (the number of specified completions)")
        if names.value is not None:
            yield from indexes_to_succeed(names, count, completions)


def indexes_to_succeed(names: Field, count: Field, completions: int) -> Iterator[Problem]:
    """`validateIndexesFormat`: intervals such as 0,2-4, in order; no more are asked for than they name."""
    try:
        total = number_of_indexes(names.value, completions)
    except ValueError as error:
        yield names.invalid(f"error parsing succeededIndexes: {error}")
        return
    if (count.value or 0) > total:
        where = "(the number of indexes in the specified succeededIndexes field)"
        yield count.invalid(f"must be less than or equal to {total} {where}")


def number_of_indexes(intervals: str, completions: int) -> int:
    total, last = 0, -1
    for interval in intervals.split(",") if intervals else ():
        limits = [index(text, completions) for text in interval.split("-")[:2]]
        if interval.count("-") > 1:
            where = "violates the requirement that an index interval can have at most two parts separated by '-'"
            raise ValueError(f'the fragment "{interval}" {where}')
        for before, after in pairwise([last, *limits]):
            if before >= after:
                raise ValueError(f"non-increasing order, previous: {before}, current: {after}")
        total, last = total + limits[-1] - limits[0] + 1, limits[-1]
    return total


def index(text: str, completions: int) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)


# ------------------------------------------------------------------------------------------------- policy for failures

ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")


def one_pattern(rule: Field) -> Iterator[Problem]:
    """A rule looks at exit codes or at conditions of the pod."""
    codes, conditions = rule["onExitCodes"].value is not None, bool(rule["onPodConditions"].value)
    if codes and conditions:
        words = "specifying both OnExitCodes and OnPodConditions is not supported"
        yield Problem(rule.path, f"Invalid value: {words}")
    elif not codes and not conditions:
        yield Problem(rule.path, "Invalid value: specifying one of OnExitCodes and OnPodConditions is required")


def exit_codes(codes: Field) -> Iterator[Problem]:
    """Exit codes rise; 0 is no failure."""
    numbers = codes["values"].value or []
    if not numbers:
        yield codes["values"].invalid("at least one value is required")
    for i, code in enumerate(codes["values"].each()):
        if code.value == 0 and codes["operator"].value == "In":
            yield code.invalid("must not be 0 for the In operator")
        if code.value in numbers[:i]:
            yield Problem(code.path, f"Duplicate value: {code.value}")
    if numbers != sorted(numbers):
        yield codes["values"].invalid("must be ordered")


def failure_rules(spec: Field) -> Iterator[Problem]:
    """What a rule refers to is there: a limit for each index, a container."""
    names = [name.value for name in select(spec, "template.spec.(containers|initContainers)[].name")]
    for rule in select(spec, "podFailurePolicy.rules[]"):
        action, container = rule["action"], rule["onExitCodes"]["containerName"]
        if action.value == "FailIndex" and spec["backoffLimitPerIndex"].value is None:
            yield action.invalid("requires the backoffLimitPerIndex to be set")
        if container.value is not None and container.value not in names:
            yield container.invalid("must be one of the container or initContainer names in the pod template")


def replacement(spec: Field) -> Iterator[Problem]:
    """With a policy for failures a pod is replaced only once it has failed."""
    policies = ["Failed"] if spec["podFailurePolicy"].value is not None else ["Failed", "TerminatingOrFailed"]
    if spec["podReplacementPolicy"].value not in (None, *policies):
        yield spec["podReplacementPolicy"].unsupported(policies)


FAILURE_RULE: Rules = [
    ("action", Needed('valid values: ["Count" "FailIndex" "FailJob" "Ignore"]'), one_of(*ACTIONS)),
    ("", one_pattern),
    ("onExitCodes.operator", Needed('valid values: ["In" "NotIn"]'), one_of("In", "NotIn")),
    ("onExitCodes", exit_codes),
    ("onPodConditions[].type", label_key),
    ("onPodConditions[].status", one_of("False", "True", "Unknown")),
]


# --------------------------------------------------------------------------------------------------------------- kinds

DOMAIN_PATH = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/\S+"
domain_path = holds(
    lambda name: re.fullmatch(DOMAIN_PATH, name) is not None, 'must be a domain-prefixed path (such as "acme.io/foo")'
)

JOB_SPEC: Rules = [
    ("(parallelism|completions|backoffLimit|ttlSecondsAfterFinished|activeDeadlineSeconds)", not_negative),
    ("(backoffLimitPerIndex|maxFailedIndexes|successPolicy.rules[].succeededCount)", not_negative),
    ("completionMode", one_of("Indexed", "NonIndexed")),
    ("managedBy", domain_path),
    ("", indexes),
    ("successPolicy.rules", Needed("at least one rules must be specified when the successPolicy is specified")),
    ("", success_rules),
    *below("podFailurePolicy.rules[]", FAILURE_RULE),
    ("", failure_rules),
    ("", replacement),
    ("template", template_metadata),
    ("", ends),
    *below("template.spec", POD),
]


def own_selector(spec: Field) -> Iterator[Problem]:
    """The server makes the selector, unless the Job says that it brings its own."""
    selector = spec["selector"]
    if spec["manualSelector"].value and selector.value is None:
        yield selector.required()
    elif spec["manualSelector"].value:
        yield from matches_its_pods(spec)
    elif selector["matchLabels"].value or selector["matchExpressions"].value:
        yield selector.invalid("`selector` not auto-generated")


def pod_names(job: Field) -> Iterator[Problem]:
    """The Job's name is a label of its pods; with the index it is the host name of each pod of an Indexed Job."""
    name, spec = job["metadata"]["name"], job["spec"]
    if not name.value or list(dns_subdomain(name)):
        return
    if spec["completionMode"].value == "Indexed" and (spec["completions"].value or 0) > 0:
        host = f"{name.value}-{spec['completions'].value - 1}"
        if dns_label.objection(host):
            yield name.invalid(f"will not able to create pod with invalid DNS label: {host}")
    yield from label_value(Field(name.value, "spec.template.labels"))


JOB: Rules = [
    ("", pod_names),
    *below("spec", [*JOB_SPEC, ("", own_selector), *below("selector", SELECTOR)]),
]


DESCRIPTORS = ("@annually", "@daily", "@hourly", "@midnight", "@monthly", "@weekly", "@yearly")


CRON_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
"""Minutes, hours, days, months and days of the week."""


def out_of_range(expression: str, low: int, high: int) -> str:
    """What robfig/cron says of one field such as 0-30/5,45; empty when its numbers are in range."""
    for part in expression.split(","):
        limits, _, step = part.partition("/")
        numbers = [int(number) for number in limits.split("-") if number.isdigit()]
        if numbers and numbers[0] < low:
            return f"beginning of range ({numbers[0]}) below minimum ({low}): {part}"
        if numbers and numbers[-1] > high:
            return f"end of range ({numbers[-1]}) above maximum ({high}): {part}"
        if numbers and numbers[0] > numbers[-1]:
            return f"beginning of range ({numbers[0]}) beyond end of range ({numbers[-1]}): {part}"
        if step == "0":
            return f"step of range should be a positive number: {part}"
    return ""


def schedule(field: Field) -> Iterator[Problem]:
    """Five fields, or a word for them; names of months and days are not looked at here."""
    text = field.value
    if "TZ" in text:
        yield field.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
    elif text.startswith("@"):
        if text not in DESCRIPTORS and not text.startswith("@every "):
            yield field.invalid(f"unrecognized descriptor: {text}")
    elif len(text.split()) != 5:
        parts = " ".join(text.split())
        yield field.invalid(f"expected exactly 5 fields, found {len(text.split())}: [{parts}]")
    else:
        faults = [out_of_range(part, *limits) for part, limits in zip(text.split(), CRON_FIELDS, strict=True)]
        yield from (field.invalid(fault) for fault in faults if fault)


CRON_JOB: Rules = [
    ("schedule", Needed(), schedule),
    ("concurrencyPolicy", one_of("Allow", "Forbid", "Replace")),
    ("(startingDeadlineSeconds|successfulJobsHistoryLimit|failedJobsHistoryLimit)", not_negative),
    ("jobTemplate.spec.selector", holds(lambda selector: False, "`selector` will be auto-generated")),
    *below("jobTemplate.spec", JOB_SPEC),
]
