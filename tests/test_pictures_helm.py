"""The pictures and printed commands of the Helm notebook say what the simulators compute."""

from __future__ import annotations

import re

import pytest

from mlinfra.course import charts, costs, terminal
from mlinfra.course.pictures import helm as pictures
from mlinfra.helm import Chart, upgrade
from mlinfra.helm.bill import worth
from mlinfra.helm.deployment import Rollout

pytest.importorskip("helm_python")


def words(svg: str) -> list[str]:
    return re.findall(r">([^<>]+)</t(?:ext|span)>", svg)


def test_a_chart_has_a_role_for_each_file() -> None:
    chart = Chart.inference()
    drawn = words(pictures.chart_files(chart).svg)
    assert set(chart.files) <= set(drawn)
    assert [pictures.role(path) for path in ("templates/tests/ready.yaml", "charts/redis/values.yaml")] == [
        "test",
        "dependency",
    ]


def test_values_change_the_lines_that_the_picture_counts() -> None:
    figure = pictures.layers("production", least=8, gpus=1)
    assert figure.description.endswith("2 lines of the rendered chart change.")
    assert {"-  minReplicas: 4", "+  minReplicas: 8"} <= set(words(figure.svg))
    assert pictures.layers("production", least=4, gpus=1).description.endswith("0 lines of the rendered chart change.")


def test_a_long_diff_is_cut_and_counted() -> None:
    figure = pictures.diff("title", "description", [f"+ line {i}" for i in range(20)])
    assert words(figure.svg)[-1] == "and 7 lines more"
    short = pictures.diff("title", "description", [])
    assert re.findall(r"viewBox=\S+ \S+ \S+ \S+", short.svg) == re.findall(r"viewBox=\S+ \S+ \S+ \S+", figure.svg)


@pytest.mark.parametrize(("surge", "unavailable", "spare"), [(3, 0, 3), (3, 0, 0), (1, 0, 1), (0, 1, 0)])
def test_a_rollout_is_drawn_to_its_end(surge: int, unavailable: int, spare: int) -> None:
    outcome = Rollout(12, surge, unavailable, drain_s=60, gpus=12 + spare).simulate()
    description = pictures.rollout(surge, unavailable, spare).description
    assert ("stuck" in description) == (outcome.done_s is None)
    assert f"Up to {outcome.peak_gpus} GPUs in use, at least {outcome.fewest_serving} of 12 serve." in description
    assert outcome.moments[-1].at_s / 60 <= pictures.LONGEST_ROLLOUT_MIN


def test_the_merge_shows_what_the_client_makes() -> None:
    old, new, live = charts.deployment(2), charts.deployment(2, "bert:2"), charts.deployment(8)
    drawn = words(pictures.three_way_merge(old, new, live).svg)
    assert drawn.count("replicas: 2") == 3  # last release, new chart, and the object afterwards
    assert drawn.count("replicas: 8") == 1


def test_owners_are_those_of_the_server() -> None:
    installed = upgrade.Managed({}).apply(upgrade.HELM, charts.deployment(2))
    scaled = installed.update(upgrade.HPA, ("spec", "replicas"), 8)
    assert ".spec.replicas is owned by helm" in pictures.field_owners(installed).description
    assert ".spec.replicas is owned by kube-controller-manager" in pictures.field_owners(scaled).description


def test_two_regions_carry_what_three_share() -> None:
    assert "215 replicas" in pictures.regions(3000, 10, 0.7).description  # 1,500 a second at 7 a replica
    assert "100 replicas" in pictures.regions(1000, 10, 0.5).description


def test_savings_are_the_bills_without() -> None:
    bill = costs.month(costs.serve())
    saved = worth(bill, costs.without())
    figure = pictures.savings(bill.dollars, saved)
    for dollars in saved.values():
        assert f"{abs(dollars):,.0f} dollars" in figure.svg
    assert figure.svg.count(">costs ") == sum(dollars < 0 for dollars in saved.values())


def test_the_cheapest_target_is_said() -> None:
    cheapest = min(pictures.TARGETS, key=lambda target: costs.month(costs.serve(target=target)).dollars)
    assert f"to {cheapest} the bill falls" in pictures.targets().description


def test_history_has_helms_columns() -> None:
    history = upgrade.ReleaseHistory("bert").upgrade([charts.deployment(2)])
    table = terminal.helm_history(history, "bert-1.2.0", "2.0.0", ["Mon Nov 23 09:00:00 2026"])
    assert table.splitlines() == [
        "REVISION\tUPDATED                 \tSTATUS  \tCHART     \tAPP VERSION\tDESCRIPTION",
        "1       \tMon Nov 23 09:00:00 2026\tdeployed\tbert-1.2.0\t2.0.0      \tInstall complete",
    ]


@pytest.mark.parametrize(
    ("rollout", "last"),
    [
        (Rollout(20, 5, 0), 'deployment "bert" successfully rolled out'),
        (Rollout(20, 1, 0, gpus=20), 'error: deployment "bert" exceeded its progress deadline'),
        (Rollout(3, 0, 1, gpus=3), 'deployment "bert" successfully rolled out'),
    ],
)
def test_rollout_status_ends_as_the_rollout(rollout: Rollout, last: str) -> None:
    assert terminal.rollout_status(rollout).splitlines()[-1] == last


def test_only_the_schema_and_a_template_refuse_bad_values() -> None:
    words = [charts.refusal(Chart.inference(), values) for values in charts.BAD_VALUES.values()]
    assert "rendered" not in words
    assert sum(text.startswith("templates:") for text in words) == 1
