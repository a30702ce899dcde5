"""pytorch-tabnet: classifier, regressor and pretraining, saved and explained."""

import numpy as np
from pytorch_tabnet.tab_model import TabNetClassifier


def _data():
    x = np.random.randn(96, 6).astype(np.float32)
    return x, (x[:, 0] + x[:, 1] > 0).astype(int)


def classifier():
    x, y = _data()
    net = TabNetClassifier(n_d=4, n_a=4, n_steps=2, cat_idxs=[], seed=1, verbose=0, device_name="cpu")
    net.fit(
        x[:64],
        y[:64],
        eval_set=[(x[64:], y[64:])],
        eval_metric=["auc", "logloss"],
        max_epochs=3,
        batch_size=32,
        virtual_batch_size=16,
    )
    path = net.save_model("net")
    again = TabNetClassifier(device_name="cpu")
    again.load_model(path)
    masks, _ = net.explain(x[:4])
    return {
        "history": net.history["loss"],
        "auc": net.history["val_0_auc"],
        "proba": again.predict_proba(x[64:70]),
        "importances": net.feature_importances_,
        "masks": masks,
    }
