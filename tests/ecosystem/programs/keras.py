"""keras over PyTorch: networks of all kinds trained, saved and loaded, layers and steps of one's own, its operations."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from keras import layers, ops


def _d(n=64):
    r = np.random.RandomState(0)
    return r.randn(n, 8).astype("f4"), r.randint(0, 3, n)


def dense():
    keras.utils.set_random_seed(0)
    x, y = _d()
    m = keras.Sequential(
        [
            layers.Input((8,)),
            layers.Dense(16, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(3, activation="softmax"),
        ]
    )
    m.compile(optimizer=keras.optimizers.Adam(1e-2), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    h = m.fit(x, y, epochs=3, batch_size=16, validation_split=0.25, verbose=0)
    m.save("m.keras")
    k = keras.models.load_model("m.keras")
    return [
        h.history,
        m.predict(x[:4], verbose=0),
        k.predict(x[:4], verbose=0),
        m.evaluate(x, y, verbose=0),
        [w.shape for w in m.weights],
    ]


def conv():
    keras.utils.set_random_seed(1)
    r = np.random.RandomState(0)
    x, y = r.rand(16, 12, 12, 3).astype("f4"), r.randint(0, 2, 16)
    m = keras.Sequential(
        [
            layers.Input((12, 12, 3)),
            layers.RandomFlip("horizontal", seed=1),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.SeparableConv2D(8, 3, activation="gelu"),
            layers.LayerNormalization(),
            layers.Conv2DTranspose(4, 3, strides=2),
            layers.UpSampling2D(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1),
        ]
    )
    m.compile(
        optimizer="sgd",
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.AUC(from_logits=True)],
    )
    return [m.fit(x, y, epochs=2, batch_size=8, verbose=0, shuffle=False).history, m.predict(x[:2], verbose=0)]


def rnn():
    keras.utils.set_random_seed(2)
    r = np.random.RandomState(0)
    x, y = r.randint(0, 20, (16, 10)), r.rand(16).astype("f4")
    out = []
    for l in (layers.LSTM(8, return_sequences=False), layers.GRU(8), layers.Bidirectional(layers.SimpleRNN(6))):
        m = keras.Sequential(
            [layers.Input((10,), dtype="int32"), layers.Embedding(20, 8, mask_zero=True), l, layers.Dense(1)]
        )
        m.compile(optimizer=keras.optimizers.RMSprop(1e-2), loss="mse")
        out.append(m.fit(x, y, epochs=2, batch_size=8, verbose=0, shuffle=False).history["loss"])
    return out


def attention():
    keras.utils.set_random_seed(3)
    r = np.random.RandomState(0)
    x = r.randn(8, 6, 16).astype("f4")
    y = r.randint(0, 4, 8)
    i = keras.Input((6, 16))
    a = layers.MultiHeadAttention(2, 8)(i, i, use_causal_mask=True)
    a = layers.LayerNormalization()(layers.add([i, a]))
    o = layers.Dense(4)(layers.GlobalMaxPooling1D()(a))
    m = keras.Model(i, o)
    m.compile(
        optimizer=keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(1e-2, 10)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return [
        m.fit(
            x,
            y,
            epochs=3,
            batch_size=4,
            verbose=0,
            shuffle=False,
            callbacks=[keras.callbacks.EarlyStopping("loss", patience=1)],
        ).history,
        m.predict(x[:2], verbose=0),
    ]


def custom():
    keras.utils.set_random_seed(4)

    class L(layers.Layer):
        def build(self, s):
            self.w = self.add_weight(shape=(s[-1], 4), initializer="glorot_uniform")
            self.n = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, x):
            self.n.assign_add(1.0)
            return ops.softmax(ops.einsum("bi,io->bo", x, self.w), axis=-1)

    l = L()
    x = torch.randn(3, 5)
    o = l(x)
    o.square().sum().backward()

    class M(keras.Model):
        def __init__(self):
            super().__init__()
            self.d = layers.Dense(2)

        def call(self, x):
            return self.d(x)

        def train_step(self, data):
            x, y = data
            self.zero_grad()
            p = self(x, training=True)
            loss = ops.mean((p - y) ** 2)
            loss.backward()
            tv = [v for v in self.trainable_weights]
            g = [v.value.grad for v in tv]
            with torch.no_grad():
                self.optimizer.apply(g, tv)
            return {"loss": loss}

    m = M()
    m.compile(optimizer="adam")
    r = np.random.RandomState(0)
    h = m.fit(r.randn(8, 3).astype("f4"), r.randn(8, 2).astype("f4"), epochs=2, verbose=0).history
    return [o, l.w.value.grad, l.n.numpy(), h]


def operations():
    x = torch.randn(3, 4, 5)
    y = ops.convert_to_tensor(np.random.RandomState(0).rand(2, 8, 8, 3).astype("f4"))
    P = {
        "svd": lambda: ops.svd(x)[1],
        "qr": lambda: ops.abs(ops.qr(x)[1]),
        "top": lambda: ops.top_k(x, 2),
        "fft": lambda: ops.fft((x, x * 0)),
        "stft": lambda: ops.stft(ops.reshape(x, (1, 60)), 8, 4, 8),
        "scan": lambda: ops.scan(lambda c, a: (c + a, c * a), ops.zeros((4, 5)), x),
        "while": lambda: ops.while_loop(lambda i: i < 5, lambda i: i + 1, 0),
        "cond": lambda: ops.cond(True, lambda: x, lambda: -x),
        "seg": lambda: ops.segment_sum(x[:, 0, 0], np.array([0, 0, 1]), 2),
        "scatter": lambda: ops.scatter(np.array([[0], [2]]), x[:2, 0], (4, 5)),
        "image": lambda: ops.image.resize(y, (5, 7), interpolation="bilinear", antialias=True),
        "affine": lambda: ops.image.affine_transform(y, np.ones((2, 8), "f4") * 0.1),
        "map": lambda: ops.image.map_coordinates(y[0, :, :, 0], np.random.RandomState(1).rand(2, 4) * 6, order=1),
        "patch": lambda: ops.image.extract_patches(y, 4),
        "gauss": lambda: ops.image.gaussian_blur(y),
        "norm": lambda: ops.normalize(x),
        "ctc": lambda: ops.ctc_loss(np.array([[1, 2]]), x[:1], np.array([2]), np.array([4])),
        "quant": lambda: ops.quantile(x, 0.3, axis=1),
        "median": lambda: ops.median(x, axis=0),
        "argpart": lambda: ops.sort(ops.argpartition(x, 2)[..., :2]),
        "corr": lambda: ops.correlate(x[0, 0], x[0, 1], "full"),
        "logd": lambda: ops.slogdet(ops.matmul(x[:, :, :4], ops.transpose(x[:, :, :4], (0, 2, 1))))[1],
        "lu": lambda: ops.lu_factor(x[:, :, :4])[0],
        "erfinv": lambda: ops.erfinv(x / 5),
        "onehot": lambda: ops.one_hot(np.array([1, 2]), 4),
        "multi": lambda: ops.multi_hot(np.array([[1, 2]]), 4),
        "ext": lambda: ops.extract_sequences(x, 3, 1),
        "dyn": lambda: ops.slice_update(x, (0, 0, 0), ops.ones((1, 2, 2))),
        "unf": lambda: ops.unfold(ops.transpose(y, (0, 3, 1, 2)), 3),
        "vmap": lambda: ops.vectorized_map(lambda a: ops.sum(a), x),
        "nn": lambda: [
            f(x)
            for f in (
                ops.relu6,
                ops.silu,
                ops.hard_swish,
                ops.celu,
                ops.elu,
                ops.log_sigmoid,
                ops.soft_shrink,
                ops.sparsemax,
                ops.hard_tanh,
                ops.tanh_shrink,
            )
        ],
    }
    return {k: f() for k, f in P.items()}


def applications():
    keras.utils.set_random_seed(5)
    x = np.random.RandomState(0).rand(1, 64, 64, 3).astype("f4")
    out = {}
    for n in ("MobileNetV2", "EfficientNetB0", "ResNet50", "DenseNet121", "ConvNeXtTiny"):
        m = getattr(keras.applications, n)(weights=None, input_shape=(64, 64, 3), classes=5)
        out[n] = [m.predict(x, verbose=0), m.count_params()]
    return out
