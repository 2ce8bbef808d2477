"""Full marks for lesson 05, written in other styles than the reference."""


# %% two_tower
class TwoTower(keras.Model):
    def __init__(self, k):
        super().__init__()
        self.look = keras.Sequential(
            [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten()]
        )
        self.listen = keras.layers.LSTM(6)
        self.mix = keras.layers.Dense(12, activation="tanh")
        self.heads = {"score_output": keras.layers.Dense(1)}
        self.heads["class_output"] = keras.layers.Dense(k)

    def call(self, x, training=False):
        seen, heard = self.look(x["img_input"]), self.listen(x["ts_input"])
        mixed = self.mix(keras.ops.concatenate([seen, heard], axis=-1))
        return {name: head(mixed) for name, head in self.heads.items()}


def two_tower(img_shape, n_features, k):
    return TwoTower(k)


# %% compile_two
def compile_two(model, w_score, w_class):
    per_output = {
        "score_output": (
            keras.losses.MeanSquaredError(),
            w_score,
            keras.metrics.MeanAbsoluteError(name="mae"),
        ),
        "class_output": (
            lambda y, logits: keras.ops.sparse_categorical_crossentropy(
                y, logits, from_logits=True
            ),
            w_class,
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        ),
    }
    if isinstance(model.output, dict):
        names = sorted(per_output)
    else:
        names = model.output_names
    loss, weights, metrics = zip(*(per_output[name] for name in names))
    model.compile(
        optimizer=keras.optimizers.SGD(),
        loss=list(loss),
        loss_weights=list(weights),
        metrics=[[metric] for metric in metrics],
    )


# %% pack
def pack(records):
    longest = max(map(len, (record["readings"] for record in records)))
    x, y, w = {"img_input": [], "ts_input": []}, {}, {}
    for record in records:
        x["img_input"].append(np.float32(record["image"])[:, :, np.newaxis])
        steps = np.float32(record["readings"])
        filling = ((0, longest - len(steps)), (0, 0))
        x["ts_input"].append(np.pad(steps, filling))
        for key in ("score", "class"):
            known = key in record
            y.setdefault(f"{key}_output", []).append(record[key] if known else 0)
            w.setdefault(f"{key}_output", []).append(1.0 if known else 0.0)
    x = {name: np.stack(rows) for name, rows in x.items()}
    y = {
        "score_output": np.float32(y["score_output"]).reshape(-1, 1),
        "class_output": np.int32(y["class_output"]),
    }
    return x, y, {name: np.float32(rows) for name, rows in w.items()}


# %% multi_ds
def multi_ds(x, y, w, batch_size):
    def slices(arrays):
        return {
            name: tf.data.Dataset.from_tensor_slices(array)
            for name, array in arrays.items()
        }

    parts = [slices(part) for part in (x, y, w) if part is not None]
    rows = tf.data.Dataset.zip(tuple(parts))
    return rows.batch(batch_size).prefetch(1)


# %% train_only
def train_only(model, head, x, y, learning_rate, epochs):
    by_name = isinstance(model.output, dict)
    output = model.output[head] if by_name else model.get_layer(head).output
    part = keras.Model(model.input, output)
    if head == "score_output":
        loss = keras.losses.MeanSquaredError()
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    part.compile(optimizer=keras.optimizers.SGD(learning_rate), loss=loss)
    part.run_eagerly = True
    return part.fit(x, y[head], epochs=epochs, shuffle=False, verbose=0)


# %% fit_by_output
def fit_by_output(model, x, y, score_weight, class_weight, batch_size):
    labels = np.asarray(y["class_output"])
    by_row = np.ones(len(labels), "float32")
    for label, weight in class_weight.items():
        by_row[labels == label] = weight
    y = dict(y)
    w = {"class_output": by_row, "score_output": np.asarray(score_weight, "float32")}
    if isinstance(model.output, dict):
        rows = (x, y, w)
    else:
        order = model.output_names
        rows = (x, tuple(y[o] for o in order), tuple(w[o] for o in order))
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)
    return model.fit(dataset, epochs=1, verbose=0)


# %% total_from_parts
def total_from_parts(logs, loss_weights, extra=0.0, n=None, batch_size=None):
    if n is not None and batch_size is not None:
        batches = -(-n // batch_size)
        if batches > 1 and batches * batch_size != n:
            return None
    total = np.float64(extra)
    for key in logs:
        if key.startswith("val_") or not key.endswith("_loss"):
            continue
        total += logs[key] * loss_weights[key[: -len("_loss")]]
    return total


# %% stopper
class Stopper(keras.callbacks.Callback):
    def __init__(self, key, sign, patience):
        super().__init__()
        self.key, self.sign, self.patience = key, sign, patience

    def on_train_begin(self, logs=None):
        self.best, self.weights, self.waited = -np.inf, None, 0

    def on_epoch_end(self, epoch, logs=None):
        value = self.sign * logs[self.key]
        self.waited += 1
        if value > self.best:
            self.best, self.waited = value, 0
            self.weights = self.model.get_weights()
        elif self.waited >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.weights is not None:
            self.model.set_weights(self.weights)


def stopper(output, metric, patience):
    sign = {"accuracy": 1, "loss": -1, "mae": -1}[metric]
    return Stopper(f"val_{output}_{metric}", sign, patience)
