"""skorch: scikit-learn's interface over a module: fit, search, pipelines, callbacks, saving."""

import numpy as np
import torch
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import EarlyStopping, EpochScoring, LRScheduler
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8, out=3):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, out))

    def forward(self, X):
        return self.net(X)


def _data():
    g = np.random.RandomState(0)
    x = g.randn(60, 4).astype(np.float32)
    return x, x[:, :3].argmax(1)


def classifier():
    x, y = _data()
    torch.manual_seed(1)
    net = NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        max_epochs=4,
        lr=0.1,
        verbose=0,
        iterator_train__shuffle=True,
        callbacks=[EarlyStopping(patience=10), LRScheduler("StepLR", step_size=2)],
    )
    net.fit(x, y)
    net.save_params(f_params="net.pt")
    again = NeuralNetClassifier(Net, criterion=nn.CrossEntropyLoss).initialize()
    again.load_params(f_params="net.pt")
    return {
        "losses": net.history[:, "train_loss"],
        "valid": net.history[:, "valid_loss"],
        "right": net.history[:, "valid_acc"],
        "same": float(np.abs(net.predict_proba(x) - again.predict_proba(x)).max()),
    }


def search():
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = _data()
    torch.manual_seed(2)
    net = NeuralNetClassifier(Net, criterion=nn.CrossEntropyLoss, max_epochs=2, lr=0.1, verbose=0, train_split=False)
    found = GridSearchCV(
        make_pipeline(StandardScaler(), net),
        {"neuralnetclassifier__module__width": [4, 8]},
        cv=2,
        refit=False,
        scoring="accuracy",
    ).fit(x, y)
    return {"scores": found.cv_results_["mean_test_score"]}


def regressor():
    x, _ = _data()
    torch.manual_seed(3)
    net = NeuralNetRegressor(
        Net, module__out=1, max_epochs=3, lr=0.05, verbose=0, callbacks=[EpochScoring("r2", lower_is_better=False)]
    )
    net.fit(x, x[:, :1])
    return {"losses": net.history[:, "train_loss"], "r2": net.history[:, "r2"]}
