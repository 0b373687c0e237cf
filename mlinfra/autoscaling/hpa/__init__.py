"""HorizontalPodAutoscaler, autoscaling/v2: its manifest, and the decisions of its controller.

`spec` is the manifest, `observation` what a pass reads, `controller` the pass itself; `pods`, `replicas` and
`behavior` are its steps.
"""

from mlinfra.autoscaling.hpa.behavior import (
    History,
    Limited,
    Log,
    Stamped,
    calculate_scale_down_limit_with_behaviors,
    calculate_scale_up_limit_with_scaling_rules,
    convert_desired_replicas_with_behavior_rate,
    convert_desired_replicas_with_rules,
    period_start_replicas,
    scale_down_limit,
    scale_up_limit,
    stabilize_recommendation,
    stabilize_recommendation_with_behaviors,
    store_scale_event,
    values_within,
)
from mlinfra.autoscaling.hpa.controller import Condition, Decision, reconcile, record_rescale, simulate
from mlinfra.autoscaling.hpa.observation import (
    Container,
    Flags,
    Observation,
    Pod,
    Reading,
    Sample,
    evenly,
    running_pods,
)
from mlinfra.autoscaling.hpa.pods import MetricError, PodGroups, calculate_requests, group_pods
from mlinfra.autoscaling.hpa.replicas import (
    Failure,
    Proposal,
    Tolerances,
    Usage,
    View,
    compute_replicas_for_metric,
    count_all,
    count_filled,
    per_pod_replicas,
    per_pod_usage,
    propose,
    total_replicas,
    usage_ratio,
    utilization_ratio,
)
from mlinfra.autoscaling.hpa.spec import (
    DEFAULT_METRICS,
    DEFAULT_SCALE_DOWN,
    DEFAULT_SCALE_UP,
    AverageValue,
    Behavior,
    ContainerResource,
    CustomMetric,
    External,
    HorizontalPodAutoscaler,
    Metric,
    Object,
    Pods,
    Resource,
    ScalingPolicy,
    ScalingRules,
    Target,
    Utilization,
    Value,
)
