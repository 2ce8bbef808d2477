"""Full marks for lesson 01, written in other styles than the reference."""


# %% classifier
class OneLayer(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.dense = keras.layers.Dense(units)

    def call(self, x):
        return self.dense(x)


def classifier(d, k, kind):
    model = OneLayer(1 if kind == "yes or no" else k)
    if kind == "one of k":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        metric = keras.metrics.SparseCategoricalAccuracy(name="hits")
    else:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        metric = keras.metrics.BinaryAccuracy(threshold=0.0)
    model.compile(optimizer=keras.optimizers.SGD(), loss=loss, metrics=[metric])
    return model


# %% try_rates
def try_rates(build, x, y, rates, epochs):
    def run(rate):
        old = build()
        model = keras.models.clone_model(old)
        model.set_weights(old.get_weights())
        model.compile(
            optimizer=keras.optimizers.SGD(learning_rate=rate),
            loss=keras.losses.MeanAbsoluteError(),
            metrics=[],
        )
        rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
        model.fit(rows, epochs=epochs, verbose=0)
        return model.evaluate(rows, verbose=0)

    return np.array([run(rate) for rate in rates])


# %% fit_shuffled
class Shuffled(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, seed):
        super().__init__()
        self.x, self.y, self.batch_size = x, y, batch_size
        self.rng = np.random.default_rng(seed)
        self.order = self.rng.permutation(len(x))

    def __len__(self):
        return -(-len(self.x) // self.batch_size)

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size :][: self.batch_size]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.x))


def fit_shuffled(model, x, y, epochs, batch_size, seed):
    rows = Shuffled(x, y, batch_size, seed)
    return model.fit(rows, epochs=epochs, shuffle=False, verbose=0)


# %% fit_tail
def fit_tail(model, x, y, n_val, epochs, batch_size):
    cut = len(x) - n_val
    train = tf.data.Dataset.from_tensor_slices((x[:cut], y[:cut])).batch(batch_size)
    val = tf.data.Dataset.from_tensor_slices((x[cut:], y[cut:])).batch(3)
    return model.fit(train, validation_data=val, epochs=epochs, verbose=0)


# %% epoch_loss
def epoch_loss(batch_losses, sizes):
    return running_losses(batch_losses, sizes)[-1]


def running_losses(batch_losses, sizes):
    total, rows, shown = 0.0, 0, []
    for loss, size in zip(batch_losses, sizes):
        total, rows = total + loss * size, rows + size
        shown.append(total / rows)
    return tuple(shown)


# %% scores
def scores(models, x, y, batch_size):
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
    found = {}
    for name in models:
        model = models[name]
        model.reset_metrics()
        found[name] = dict(model.evaluate(rows, return_dict=True, verbose=0))
    return found


# %% predict_labels
def predict_labels(model, x, head, threshold=0.5):
    outputs = keras.ops.convert_to_numpy(model(x, training=False))
    if head == "sigmoid":
        return np.where(outputs.squeeze(-1) > threshold, 1, 0)
    return [int(np.argmax(row)) for row in outputs]


def label_of(model, row, head, threshold=0.5):
    return predict_labels(model, np.expand_dims(row, 0), head, threshold)[0]


# %% train_until
def train_until(model, x, y, done, total, batch_size):
    settings = dict(initial_epoch=done, epochs=max(done, total))
    return model.fit(x, y, batch_size, shuffle=False, verbose=0, **settings)


# %% fit_by_batches
def fit_by_batches(model, x, y, batch_size, epochs):
    history = []
    for _ in range(epochs):
        seen = weighted = 0
        for begin in range(0, len(x), batch_size):
            part = slice(begin, begin + batch_size)
            model.reset_metrics()
            value = model.train_on_batch(x[part], y[part], return_dict=True)["loss"]
            rows = len(x[part])
            seen, weighted = seen + rows, weighted + rows * value
        history.append(weighted / seen)
    return history
