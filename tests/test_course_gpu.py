"""What notebook 04 prepares and prints: terminal output in the real tools' layout, and tables."""

from __future__ import annotations

from mlinfra import validate
from mlinfra.course import clusters, gpu_tables, gpu_terminal
from mlinfra.course.exercises.gpu import WANTS
from mlinfra.course.openb import OpenB
from mlinfra.gpu import GPURequest, mig, preemption, profile, sharing
from mlinfra.gpu.preemption import DisruptionBudget

SERVE = GPURequest("bert-classifier", 4, priority_class=clusters.URGENT)


def test_describe_node_says_what_is_requested_in_whole_percent() -> None:
    cluster = clusters.scheduled(clusters.THREE_JOBS[:1], clusters.THREE_NODES)
    lines = gpu_terminal.describe_node(cluster.nodes["node-1"]).splitlines()
    assert "Taints:             <none>" in lines
    assert "  nvidia.com/gpu:  8" in lines
    assert lines[-3:] == [
        "  cpu             32 (33%)     32 (33%)",
        "  memory          256Gi (33%)  256Gi (33%)",
        "  nvidia.com/gpu  4            4",
    ]
    tainted = clusters.scheduled([], clusters.MIXED_NODES).nodes["node-a"]
    assert "Taints:             nvidia.com/gpu=present:NoSchedule" in gpu_terminal.describe_node(tainted).splitlines()


def test_describe_pod_has_the_event_and_no_line_that_runs_on() -> None:
    text = gpu_terminal.describe_pod(clusters.scheduled([WANTS], clusters.MIXED_NODES), WANTS)
    assert "Status:             Pending" in text
    assert "Warning  FailedScheduling  0s   default-scheduler  0/4 nodes are available: 1 Insufficient cpu" in text
    assert max(map(len, text.splitlines())) <= gpu_terminal.WIDTH


def test_evictions_travel_down_the_priorities() -> None:
    """The budget saves the notebooks from the urgent pod, and not from the pod that it evicts."""
    guarded = clusters.full_cluster([DisruptionBudget({"app": "notebook"}, 0)])
    guarded.submit(SERVE)
    guarded.schedule(3600)
    evicted = [event for event in guarded.events if event.reason == "Preempted"]
    assert [event.about for event in evicted] == ["young", *(f"notebook-{i}" for i in range(5, 9))]
    first = gpu_terminal.get_events(evicted, 3600).splitlines()[1]
    assert first == "0s          Normal   Preempted   pod/young        Preempted by pod bert-classifier on node node-2"


def test_the_table_of_evictions_has_five_numbers() -> None:
    outcome = preemption.dry_run(SERVE, list(clusters.full_cluster().nodes.values()))
    assert "| node-2 | young | 0 | 10 | 1 x 2^31 + 10 | 1 | 3540 s |" in str(gpu_tables.evictions(outcome))


def test_workloads_and_the_status_of_a_queue() -> None:
    teams = clusters.two_teams()
    clusters.arrive(teams, "research", {"pretrain": 16, "sweep": 4, "eval": 2})
    assert "      Borrowed:  6" in gpu_terminal.describe_clusterqueue(teams, "research").splitlines()
    clusters.arrive(teams, "serving", {"bert-classifier": 6}, now_s=3600)
    assert gpu_terminal.get_workloads(teams).splitlines()[1:] == [
        "bert-classifier   serving    serving       True",
        "eval              research   research      True",
        "pretrain          research   research      True",
        "sweep             research                 False",
    ]


def test_mig_instances_are_a_table_of_one_width() -> None:
    text = gpu_terminal.mig_instances("A100-40GB", mig.in_order("A100-40GB", ["3g", "2g", "1g", "1g"]))
    assert {len(line) for line in text.splitlines()} == {57}
    assert "|   0  MIG 3g.20gb           9        4          4:4" in text


def test_scores_add_up() -> None:
    training, bert, _ = clusters.THREE_JOBS
    cluster = clusters.scheduled([training], clusters.THREE_NODES)
    assert "| node-2 | 91 | 75 | 0 | 300 | **466** |" in str(gpu_tables.scores(cluster.explain(bert)))


def test_mps_isolates_no_fault() -> None:
    """https://docs.nvidia.com/deploy/mps/when-to-use-mps.html, and the device plugin's README on time-slicing."""
    for name in ("timeSlicing", "mps"):
        assert sharing.TECHNIQUES[name].faults.startswith("one fault domain")
        assert not sharing.TECHNIQUES[name].faults_stay_inside


def test_training_writes_to_a_volume_and_serving_restarts() -> None:
    pod = clusters.THREE_JOBS[0].manifest(clusters.IMAGE, clusters.TRAIN, checkpoints="claim")
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["volumeMounts"][0]["name"] == pod["spec"]["volumes"][0]["name"]
    assert validate(pod) == []
    assert SERVE.manifest(restart_policy="Always")["spec"]["restartPolicy"] == "Always"


def test_a_config_map_carries_the_file() -> None:
    shown = clusters.config_map("gpu-packing", profile.packing().manifest())
    assert validate(shown) == []
    assert "type: MostAllocated" in shown["data"]["scheduler-config.yaml"]


def test_openb_is_the_cluster_of_the_study() -> None:
    openb = OpenB()
    assert (len(openb.nodes), openb.gpus, len(openb.arrivals)) == (1213, 6212, 10848)
