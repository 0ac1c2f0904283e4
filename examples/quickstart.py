"""Datamodels of a small classifier, all in memory: run it, or paste the cells into a notebook.

python -m examples.quickstart
"""

# %% Train 600 logistic regressions on random halves of 400 patients; keep masks and margins.
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

import datamodels
from datamodels.training import subset_masks

X, y = load_breast_cancer(return_X_y=True)
X, y = scale(X), 2 * y - 1
masks = subset_masks(range(600), 400, alpha=0.5, seed=0)  # (600, 400) bool
margins = np.empty((600, len(X) - 400), np.float32)  # (600, 169)
for i, mask in enumerate(masks):
    model = LogisticRegression(max_iter=1000).fit(X[:400][mask], y[:400][mask])
    margins[i] = y[400:] * model.decision_function(X[400:])

# %% Fit one sparse linear model a test patient on 500 of the models, lambda by cross-validation.
fitted = datamodels.fit(masks[:500], margins[:500], k=50, eps=1e-2, folds=5)
print(fitted, f"{np.count_nonzero(fitted.weight) / fitted.n_targets:.0f} non-zero weights each")

# %% How well do they predict the 100 models that they have not seen?
r2 = fitted.score(masks[500:], margins[500:])
print(f"R2 on unseen models: {np.median(r2):.2f} in the median")

# %% Who helps and who hurts the prediction for the hardest test patient?
hardest = int(margins.mean(axis=0).argmin())
helpful, harmful = fitted.top(hardest, k=3)
for name, ranked in (("helps", helpful), ("hurts", harmful)):
    for patient, weight in zip(ranked.examples, ranked.weights, strict=True):
        print(f"  training patient {patient:3d} {name} test patient {hardest}: {weight:+.3f}")
