"""Knative's Pod Autoscaler (KPA): settings, averaging windows, panic, and the way to zero and back.

Follows knative/serving v1.23.0. `config` is what can be set, `decider` what holds for one revision, `bucketing` the
averages, `autoscaler` the tick itself, and `scaler` what becomes of its answer. Times are seconds; values are sums
over all pods (requests in flight, or requests per second).
"""

from mlinfra.autoscaling.knative.autoscaler import TICK_S, Scale, State, scale
from mlinfra.autoscaling.knative.bucketing import BUCKET_S, Window
from mlinfra.autoscaling.knative.config import Config, Revision
from mlinfra.autoscaling.knative.decider import Decider, decider, initial_scale, metric_target, panic_window_s
from mlinfra.autoscaling.knative.scaler import KPA, Activity, apply_bounds, handle_scale_to_zero, scale_bounds
