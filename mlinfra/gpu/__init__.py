"""GPU scheduling: the cluster, the scheduler that decides as kube-scheduler does, preemption, quota."""
