"""Full marks for lesson 03, written in other styles than the reference."""


# %% make_train_ds
def make_train_ds(x, y, batch_size, seed):
    pairs = tf.data.Dataset.zip(
        tf.data.Dataset.from_tensor_slices(x), tf.data.Dataset.from_tensor_slices(y)
    )

    def convert(inputs, label):
        return tf.cast(inputs, tf.float32), label

    pairs = pairs.cache().shuffle(buffer_size=10 * len(y), seed=seed)
    return pairs.map(convert).batch(batch_size).prefetch(tf.data.AUTOTUNE)


# %% split_ds
def split_ds(ds, n_val):
    rows = list(ds.as_numpy_iterator())

    def part(rows):
        x, y = zip(*rows)
        return tf.data.Dataset.from_tensor_slices((np.stack(x), np.stack(y)))

    return part(rows[:-n_val]).shuffle(len(rows), seed=1), part(rows[-n_val:])


# %% epoch_plan
class Plan:
    def __init__(self, n_batches):
        self.n_batches, self.waiting = n_batches, []

    def epoch(self, steps):
        if not self.waiting:
            self.waiting = [*range(self.n_batches)]
        taken, self.waiting = self.waiting[:steps], self.waiting[steps:]
        return tuple(taken)


def epoch_plan(n_batches, steps, epochs):
    plan = Plan(n_batches)
    return [plan.epoch(steps or n_batches) for _ in range(epochs)]


# %% frame_to_ds
def frame_to_ds(table, labels, batch_size):
    joined = table.astype("float32").assign(**{"the label": labels.astype("float32")})

    def split(row):
        target = row.pop("the label")
        return {name: tf.expand_dims(row[name], -1) for name in row}, target

    rows = tf.data.Dataset.from_tensor_slices(dict(joined))
    return rows.batch(batch_size).map(split)


# %% gen_to_ds
def gen_to_ds(make_rows, d, n, batch_size):
    def batches():
        x, y = [], []
        for features, label in make_rows():
            x.append(features)
            y.append(label)
            if len(x) == batch_size:
                yield np.array(x, np.float32), np.array(y, np.int64)
                x, y = [], []
        if x:
            yield np.array(x, np.float32), np.array(y, np.int64)

    spec = (
        tf.TensorSpec(shape=(None, d), dtype=tf.float32),
        tf.TensorSpec(shape=(None,), dtype=tf.int64),
    )
    ds = tf.data.Dataset.from_generator(batches, output_signature=spec)
    return ds.apply(tf.data.experimental.assert_cardinality(-(-n // batch_size)))


# %% augmenting_ds
def augmenting_ds(x, y, prepare, sigma, batch_size):
    noise = keras.layers.GaussianNoise(sigma, seed=1)
    inputs = tf.data.Dataset.from_tensor_slices(x).map(prepare).cache()
    labels = tf.data.Dataset.from_tensor_slices(y)
    rows = tf.data.Dataset.zip((inputs, labels)).batch(batch_size)
    return rows.map(lambda x, y: (noise(x, training=True), y)).prefetch(1)


# %% ArrayBatches
class ArrayBatches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        super().__init__(**settings)
        self.arrays = [a for a in (x, y, weights) if a is not None]
        self.size, self.seed, self.epoch = batch_size, seed, 0

    @property
    def num_batches(self):
        return int(np.ceil(len(self.arrays[0]) / self.size))

    def __len__(self):
        return self.num_batches

    def __getitem__(self, index):
        n = len(self.arrays[0])
        order = np.random.default_rng([self.seed, self.epoch]).permutation(n)
        mine = np.array_split(order, range(self.size, n, self.size))[index]
        return tuple(np.take(a, mine, axis=0) for a in self.arrays)

    def on_epoch_begin(self):
        self.epoch += 1


# %% windows
def windows(series, length, horizon, batch_size):
    reach = length + horizon
    numbers = tf.data.Dataset.from_tensor_slices(tf.cast(series, tf.float32))
    cut = numbers.window(reach, shift=1, drop_remainder=True)
    cut = cut.flat_map(lambda part: part.batch(reach))
    return cut.map(lambda part: (part[:length], part[-1])).batch(batch_size)
