"""A forecast of sales for each shop, once a week. The steps are stubs: `pipeline.yaml` is what KFP compiles of it."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

IMAGE = "registry.example.com/forecast:2.3.0"


@dsl.component(base_image=IMAGE, install_kfp_package=False, packages_to_install=["pandas"])
def read_sales(week: str, sales: Output[Dataset]) -> None:
    pass


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fit(sales: Input[Dataset], shop: str, model: Output[Model]) -> float:
    return 0.1


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def largest_error(errors: list) -> float:
    return max(errors)


@dsl.component(base_image="registry.example.com/publisher", install_kfp_package=False)
def publish(week: str) -> None:
    pass


@dsl.pipeline(name="sales-forecast")
def sales_forecast(week: str) -> None:
    sales = read_sales(week=week).set_cpu_limit("1").set_memory_limit("4Gi").output
    with dsl.ParallelFor(["north", "south"], parallelism=2) as shop:
        fitted = fit(sales=sales, shop=shop).set_cpu_limit("4").set_memory_limit("16Gi")
        fitted.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1).set_retry(3)
    worst = largest_error(errors=dsl.Collected(fitted.outputs["Output"])).set_cpu_limit("1").set_memory_limit("1Gi")
    with dsl.If(worst.output < 0.2, name="good enough"):
        publish(week=week).set_cpu_limit("1").set_memory_limit("1Gi")
