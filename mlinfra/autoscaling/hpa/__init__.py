"""HorizontalPodAutoscaler, autoscaling/v2: its manifest, and the decisions of its controller.

`spec` and `metrics` are the manifest, `observation` is what a pass reads, `controller` is the pass itself; `pods`,
`replicas` and `behavior` are its steps.
"""

from mlinfra.autoscaling.hpa.behavior import Limited, Log, ScaleHistory, Stabilized, Stamped
from mlinfra.autoscaling.hpa.controller import Condition, Decision, reconcile, simulate
from mlinfra.autoscaling.hpa.metrics import (
    AverageValue,
    ContainerResource,
    External,
    Metric,
    Object,
    Pods,
    Resource,
    Target,
    Utilization,
    Value,
)
from mlinfra.autoscaling.hpa.observation import (
    ContainerRequests,
    ControllerFlags,
    Observation,
    ObservedPod,
    Reading,
    Sample,
    evenly,
    running_pods,
)
from mlinfra.autoscaling.hpa.pods import MetricError, PodGroups, calculate_requests, group_pods
from mlinfra.autoscaling.hpa.replicas import (
    Failure,
    MetricUsage,
    Proposal,
    Tolerances,
    View,
    compute_replicas_for_metric,
    count_all,
    count_filled,
    per_pod_replicas,
    per_pod_usage,
    propose,
    usage_ratio,
    utilization_ratio,
)
from mlinfra.autoscaling.hpa.spec import (
    DEFAULT_SCALE_DOWN,
    DEFAULT_SCALE_UP,
    Behavior,
    HorizontalPodAutoscaler,
    ScalingPolicy,
    ScalingRules,
)
