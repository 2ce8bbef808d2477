"""Full marks for lesson 04, written in other styles than the reference."""


# %% weighted_loss
class PerRow(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return y_pred


def weighted_loss(e, w, reduction):
    e = keras.ops.convert_to_tensor(e, "float32")
    loss = PerRow(reduction=None if reduction == "none" else reduction)
    value = loss(keras.ops.zeros_like(e), e, sample_weight=w)
    return keras.ops.convert_to_numpy(value)


# %% balanced_class_weight
def balanced_class_weight(y):
    from sklearn.utils.class_weight import compute_class_weight

    y = np.array(y)
    classes = np.unique(y)
    weights = compute_class_weight("balanced", classes=classes, y=y)
    return dict(zip(classes, weights, strict=True))


# %% to_sample_weight
def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    if y.ndim == 1 or y.shape[1] == 1:
        weights = np.ones(len(y), "float32")
        for label, weight in class_weight.items():
            weights[y.reshape(-1) == label] = weight
    else:
        table = np.array([class_weight.get(c, 1) for c in range(y.shape[1])], float)
        weights = np.where(y > 0, table, -np.inf).max(axis=1)
        weights[~np.any(y, axis=1)] = 1
    if base is not None:
        weights = np.multiply(weights, base)
    return np.float32(weights)


# %% fit_weighted
def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    x, y, w = train
    for label in np.unique(y):
        w = np.where(y == label, class_weight.get(int(label), 1) * w, w)
    weighted = keras.metrics.SparseCategoricalAccuracy(name="weighted_accuracy")
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(),
        optimizer=optimizer,
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        weighted_metrics=[weighted],
    )
    rows = tf.data.Dataset.from_tensor_slices((x, y, w.astype("float32"))).batch(32)
    watched = tf.data.Dataset.from_tensor_slices(val).batch(32)
    return model.fit(rows, validation_data=watched, epochs=epochs, verbose=0)


# %% attach_weights
def attach_weights(ds, class_weight, default=1.0):
    listed = {-1: default, **class_weight}  # a table may not be empty
    keys = tf.constant(list(listed), "int64")
    values = tf.constant(list(listed.values()), "float32")
    start = tf.lookup.KeyValueTensorInitializer(keys, values)
    table = tf.lookup.StaticHashTable(start, float(default))

    def weigh(x, y):
        return x, y, table.lookup(tf.cast(y, "int64"))

    return ds.map(weigh, num_parallel_calls=tf.data.AUTOTUNE)


# %% padding_weights
def padding_weights(tokens, pad_id):
    return np.where(tokens == pad_id, np.float32(0), np.float32(1))


def step_loss(y, p, w):
    chosen = tf.gather(p, y, axis=-1, batch_dims=2)
    return tf.math.divide_no_nan(-tf.reduce_sum(tf.math.log(chosen) * w), sum_of(w))


def sum_of(w):
    return tf.reduce_sum(tf.convert_to_tensor(w))


# %% start_bias
def start_bias(model, y, w=None):
    share = np.average(np.asarray(y, "float64").reshape(-1), weights=w)
    odds = np.log(share) - np.log1p(-share)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, np.full_like(bias, odds)])
    return odds


# %% best_threshold
def best_threshold(y, p):
    from sklearn.metrics import precision_recall_curve

    if not y.sum():
        return float("inf")
    precision, recall, thresholds = precision_recall_curve(y, p)
    both = np.maximum(precision + recall, 1e-12)
    return thresholds[np.argmax((2 * precision * recall / both)[:-1])]
