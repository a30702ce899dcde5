"""Pictures as TensorBoard wants them: figures drawn, batches laid out as grids, channels last."""

import math

import numpy as np


def figure_to_image(figures, close=True):
    """A matplotlib figure as an array C x H x W; a list of figures as N x C x H x W."""
    from matplotlib import pyplot
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def draw(figure):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        width, height = figure.canvas.get_width_height()
        rgba = np.frombuffer(canvas.buffer_rgba(), dtype=np.uint8).reshape(height, width, 4)
        if close:
            pyplot.close(figure)
        return np.moveaxis(rgba[:, :, :3], 2, 0)

    return np.stack([draw(f) for f in figures]) if isinstance(figures, list) else draw(figures)


def make_grid(I, ncols=8):
    """A batch of pictures, N x 1 or 3 x H x W, side by side in one; what is left over stays black."""
    if not isinstance(I, np.ndarray):
        raise AssertionError("plugin error, should pass numpy array here")
    if I.shape[1] == 1:
        I = np.repeat(I, 3, 1)
    if I.ndim != 4 or I.shape[1] != 3:
        raise AssertionError("Input should be a 4D numpy array with 3 channels")
    n, _, h, w = I.shape
    ncols = min(n, ncols)
    nrows = math.ceil(n / ncols)
    canvas = np.zeros((3, h * nrows, w * ncols), I.dtype)
    for i, picture in enumerate(I):
        y, x = divmod(i, ncols)
        canvas[:, y * h : (y + 1) * h, x * w : (x + 1) * w] = picture
    return canvas


def convert_to_HWC(tensor, input_format):
    """A picture or a batch whose dimensions are named by letters, as one picture H x W x 3."""
    if len(set(input_format)) != len(input_format):
        raise AssertionError(
            f"You can not use the same dimension shorthand twice.             input_format: {input_format}"
        )
    if len(tensor.shape) != len(input_format):
        raise AssertionError(
            "size of input tensor and input format are different.         "
            f"tensor shape: {tensor.shape}, input_format: {input_format}"
        )
    letters = input_format.upper()

    def as_(wanted):
        return tensor.transpose([letters.find(c) for c in wanted])

    if len(letters) == 4:
        return make_grid(as_("NCHW")).transpose(1, 2, 0)
    if len(letters) == 3:
        picture = as_("HWC")
        return np.concatenate([picture] * 3, 2) if picture.shape[2] == 1 else picture
    if len(letters) == 2:
        return np.stack([as_("HW")] * 3, 2)
    return None


def _prepare_video(V):
    """Videos N x T x C x H x W as one video T x H x W x C, in a grid whose sides are powers of two."""
    b, t, c, h, w = V.shape
    if V.dtype == np.uint8:
        V = np.float32(V) / 255.0
    if b & (b - 1) or not b:
        V = np.concatenate((V, np.zeros((2 ** b.bit_length() - b, t, c, h, w))))
    rows = 2 ** ((b.bit_length() - 1) // 2)
    cols = V.shape[0] // rows
    V = V.reshape(rows, cols, t, c, h, w).transpose(2, 0, 4, 1, 5, 3)  # t rows h cols w c
    return V.reshape(t, rows * h, cols * w, c)
