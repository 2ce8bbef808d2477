"""Full marks for lesson 00, written in other styles than the reference."""


# %% environment
def environment(modules):
    report = dict.fromkeys([])
    for module in modules:
        report.setdefault(getattr(module, "__name__"), str(module.__version__))
    report["backend"] = keras.backend.backend()
    return report


# %% standardise
class Columns:
    def __call__(self, x):
        x = tf.convert_to_tensor(x)
        return tf.reduce_mean(x, 0), tf.math.reduce_std(x, 0)


fit_standardiser = Columns()


def apply_standardiser(x, mean, std, eps=1e-7):
    rows = [(keras.ops.subtract(row, mean)) / (std + eps) for row in x]
    return keras.ops.stack(rows)


# %% holdout
def holdout(x, y, frac, seed):
    rng = np.random.RandomState(seed)
    pairs = list(zip(x, y))
    rng.shuffle(index := list(range(len(pairs))))
    n_val = int(np.round(frac * len(pairs)))
    val, train = [pairs[i] for i in index[:n_val]], [pairs[i] for i in index[n_val:]]
    (x_train, y_train), (x_val, y_val) = zip(*train), zip(*val)
    return np.array(x_train), list(y_train), np.array(x_val), list(y_val)


# %% mean_loss
def mean_loss(outputs, labels, kind):
    losses = keras.losses.sparse_categorical_crossentropy(
        labels, tf.constant(outputs), from_logits=(kind == "logits")
    )
    return keras.ops.mean(losses)


# %% xent
@tf.function
def xent(logits, labels):
    shifted = logits - keras.ops.max(logits, axis=-1, keepdims=True)
    total = keras.ops.log(keras.ops.sum(keras.ops.exp(shifted), axis=-1))
    picked = keras.ops.take_along_axis(shifted, labels[:, None], axis=-1)
    return total - keras.ops.squeeze(picked, -1)


# %% mlp
class Stack(keras.Model):
    def __init__(self, d, hidden, k):
        super().__init__()
        self.steps = [keras.layers.Dense(h) for h in hidden]
        self.head = keras.layers.Dense(k)

    def call(self, x):
        for step in self.steps:
            x = keras.activations.relu(step(x))
        return self.head(x)


mlp = Stack


# %% history_rows
def history_rows(history, validation_freq=1):
    train = [key for key in history if not key.startswith("val_")]
    rows = []
    for number in range(len(history[train[0]]) if train else 0):
        row = {key: history[key][number] for key in train}
        for key in set(history) - set(train):
            values = iter(history[key])
            spread = [
                next(values) if (e + 1) % validation_freq == 0 else None
                for e in range(number + 1)
            ]
            row[key] = spread[-1]
        rows.append(dict(row, epoch=number + 1))
    return rows
