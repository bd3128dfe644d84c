"""A linear detector: logistic regression on the means of the cells of an input.

It has no seed and trains in a second, so what it is given can be compared without the chance of a
training. It sees where in the picture a value lies, and nothing finer than a cell.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from defocus_lib.detect.in_memory import Examples

LINEAR = "linear"
"""The name of this detector, where that of a backbone is asked for."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse strengths of the penalty; that with the highest AUC on validation is taken."""


def logits(train: Examples, val: Examples, test: Examples) -> np.ndarray:
    """Logits ``(N,)`` float64 of the test images, of a model fitted to the training images.

    Each value of the inputs is standardised. ValueError if ``train`` holds one class.
    """
    inputs, labels = _flat(train), train.labels
    models = [_fitted(inputs, labels, strength) for strength in STRENGTHS]
    if len(np.unique(val.labels)) == 2:
        seen = _flat(val)
        aucs = [roc_auc_score(val.labels, model.decision_function(seen)) for model in models]
        chosen = models[int(np.argmax(aucs))]  # of equal ones the stronger penalty
    else:
        chosen = models[len(models) // 2]
    return chosen.decision_function(_flat(test))


def _fitted(inputs: np.ndarray, labels: np.ndarray, strength: float) -> Pipeline:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))
    with warnings.catch_warnings():  # a weak penalty that has not converged is not chosen
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(inputs, labels)


def _flat(examples: Examples) -> np.ndarray:
    return examples.images(slice(None)).contiguous().flatten(1).double().numpy()
