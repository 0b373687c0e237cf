"""The settings of cluster-autoscaler 1.37 that decide here, with upstream's defaults (`config/flags/flags.go`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from mlinfra.admission import AtLeastOne, Count, NotNegative, Share, check
from mlinfra.admission.rules import real, whole

Priorities = Mapping[int, Sequence[str]]
"""The priority expander's configuration: expressions over the names of pools, by priority; the highest wins."""


@dataclass(frozen=True, kw_only=True)
class AutoscalerFlags:
    """Times in seconds; a limit of 0 is none. `expander` is one, or a chain of several, joined by commas."""

    scan_interval_s: Annotated[float, real(0.001)] = 10.0
    frequent_loops: bool = True

    new_pod_scale_up_delay_s: NotNegative = 0.0
    expendable_pods_priority_cutoff: Annotated[int, whole(-(2**31))] = -10
    expander: str = "least-waste"
    priorities: Priorities | None = field(default_factory=dict)
    balance_similar_node_groups: bool = False
    max_nodes_per_scaleup: Count = 1000
    max_nodes_total: Count = 0
    max_cores: Count = 0
    max_memory: Annotated[int, whole(0, 2**63 - 1)] = 0
    max_gpus: Count = 0
    max_node_provision_s: NotNegative = 900.0
    initial_backoff_s: NotNegative = 300.0
    max_backoff_s: NotNegative = 1800.0
    backoff_reset_s: NotNegative = 10800.0

    scale_down_enabled: bool = True
    utilization_threshold: Share = 0.5
    gpu_utilization_threshold: Share = 0.5
    unneeded_s: NotNegative = 600.0
    unready_s: NotNegative = 1200.0
    unready_enabled: bool = True
    delay_after_add_s: NotNegative = 600.0
    delay_after_delete_s: NotNegative = 0.0
    unremovable_recheck_s: NotNegative = 300.0
    max_scale_down_parallelism: AtLeastOne = 10
    max_drain_parallelism: AtLeastOne = 1
    delete_delay_after_taint_s: NotNegative = 5.0
    ignore_daemonsets_utilization: bool = False
    ignore_mirror_pods_utilization: bool = False
    system_pod_timeout_s: NotNegative = 3600.0

    def __post_init__(self) -> None:
        check(self)


DEFAULT_FLAGS = AutoscalerFlags()
