"""Errors of Shapley values under the default initialisation, without residual-branch scaling.

``python -m benchmarks.default_initialisation``, after ``benchmarks.shapley``: network, images and
training are those of that benchmark otherwise. A gradient takes as long, so only errors are
measured. Takes twenty minutes on two cores.
"""

from dataclasses import replace
from functools import partial

import pandas as pd

from benchmarks import machine, shapley
from benchmarks.shapley import HALF, JUDGED, OURS, THEIRS, error, integral, lowest_correlation
from defocus_lib.explain.expected_gradients import shapley_values


def main() -> None:
    detector, inputs, background, auc = shapley.problem(replace(shapley.PLAN, residual_scale=1.0))
    explain = partial(shapley_values, detector, inputs, background)
    judged = partial(shapley_values, detector, inputs[:JUDGED], background)
    truth = [integral(detector, x, background) for x in inputs[:JUDGED]]
    facts = {
        "validation AUC": auc,
        "lowest correlation of bf16 with fp32": lowest_correlation(
            *(explain(n_samples=50, **p).values for p in (HALF, {}))
        ),
        **{
            f"correlation {step / shapley.NODES} of the path apart": truth[0].correlations[step]
            for step in shapley.STEPS
        },
        f"relative error, {THEIRS}": error(judged(n_samples=200, method="shap").values, truth),
    }
    for name, options in OURS.items():
        facts[f"relative error, {name}, bf16"] = error(judged(**options, **HALF).values, truth)
    table = pd.Series(facts, name="value").round(5).rename_axis("what")
    table.to_csv(shapley.RESULTS.with_name("default_initialisation.csv"))
    machine.note("default_initialisation")
    print(table.to_string())


if __name__ == "__main__":
    main()
