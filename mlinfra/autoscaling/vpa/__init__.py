"""VerticalPodAutoscaler, autoscaling.k8s.io/v1: its manifest, and the recommendations of its recommender.

Follows `vertical-pod-autoscaler/pkg/recommender/{util,model,logic}` of tag vertical-pod-autoscaler-1.7.1. CPU is in
milli cores, memory in bytes; times are seconds since a midnight, so that a half-life of a day starts at one.

`usage` turns samples into the two histograms of `histogram`, `recommender` reads a recommendation from them, and `spec`
is the object.
"""

from mlinfra.autoscaling.vpa.amounts import MAX_AMOUNT, Amounts
from mlinfra.autoscaling.vpa.histogram import CPU_BUCKETS, DAY_S, MEMORY_BUCKETS, Buckets, Histogram
from mlinfra.autoscaling.vpa.recommender import (
    Recommendation,
    estimate,
    pod_minimum,
    recommend,
    with_confidence,
    with_margin,
)
from mlinfra.autoscaling.vpa.spec import ContainerPolicy, VerticalPodAutoscaler
from mlinfra.autoscaling.vpa.usage import AggregateContainerState, ContainerState, RecommenderFlags
