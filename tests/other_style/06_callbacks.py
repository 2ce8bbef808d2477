"""Full marks for lesson 06, written in other styles than the reference's."""


# %% BatchLosses
class BatchLosses(keras.callbacks.Callback):
    def __init__(self, batch_sizes):
        self.rows = np.cumsum(batch_sizes)

    def on_train_begin(self, logs):
        self.means = []

    def on_epoch_begin(self, epoch, logs):
        self.means.append([])

    def on_batch_end(self, batch, logs):
        self.means[-1].append(logs["loss"])

    @property
    def losses(self):
        found = []
        for means in self.means:
            rows = self.rows[: len(means)]
            sums = np.array(means) * rows
            found += list(np.diff(sums, prepend=0) / np.diff(rows, prepend=0))
        return found


# %% ExtraScores
class ExtraScores(keras.callbacks.Callback):
    def __init__(self, rows, name):
        self._rows, self._prefix = rows, name + "_"

    def on_epoch_end(self, epoch, logs):
        names = [key for key in logs if not key.startswith("val_")]
        values = self.model.evaluate(self._rows, verbose=0, return_dict=True)
        assert set(names) >= set(values)
        logs |= {self._prefix + key: float(values[key]) for key in values}


# %% StopAt
class StopAt(keras.callbacks.Callback):
    def __init__(self, monitor, target, mode):
        super().__init__()
        self.key = monitor
        self.reached = {
            "min": lambda value: value <= target,
            "max": lambda value: value >= target,
        }[mode]

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.silent = False
        if self.key in logs:
            if self.reached(logs[self.key]):
                self.model.stop_training = True
        elif not self.silent:
            warnings.warn(f"no {self.key}", RuntimeWarning, stacklevel=2)
            self.silent = True


# %% JsonlLogger
class JsonlLogger(keras.callbacks.Callback):
    def __init__(self, path):
        super().__init__()
        self.path, self.file = path, None

    def on_train_begin(self, logs=None):
        if self.file:
            self.file.close()
        self.file = open(self.path, "w", encoding="utf-8")

    def on_epoch_end(self, epoch, logs=None):
        line = {key: np.asarray(value).item() for key, value in logs.items()}
        json.dump(dict(line, epoch=epoch), self.file)
        print(file=self.file, flush=True)


# %% simulate_early_stopping
def simulate_early_stopping(
    values,
    patience=0,
    min_delta=0.0,
    mode="min",
    start_from_epoch=0,
    baseline=None,
    restore_best_weights=False,
):
    if mode == "max":
        values = [-value for value in values]
        baseline = None if baseline is None else -baseline
    delta = min_delta if min_delta > 0 else -min_delta
    best, kept, waited, last = float("inf"), None, 0, len(values) - 1
    for epoch in range(start_from_epoch, len(values)):
        if values[epoch] + delta < best:
            best, kept = values[epoch], epoch
            beaten = baseline is None or values[epoch] + delta < baseline
            waited = 0 if beaten else waited + 1
        else:
            waited += 1
            if waited >= max(patience, 1):
                last = epoch
                break
    if not restore_best_weights or kept is None:
        kept = last
    return [last + 1, kept]


# %% checkpointing
class Keeper(keras.callbacks.Callback):
    def __init__(self, folder, monitor, sign):
        self.folder, self.monitor, self.sign = folder, monitor, sign
        self.best = float("inf")

    def on_epoch_end(self, epoch, logs=None):
        os.makedirs(self.folder, exist_ok=True)
        self.model.save(os.path.join(self.folder, "last.keras"))
        if self.sign * logs[self.monitor] < self.best:
            self.best = self.sign * logs[self.monitor]
            self.model.save(os.path.join(self.folder, "best.keras"))


def checkpointing(folder, monitor="val_loss", mode="min"):
    return (Keeper(folder, monitor, {"min": 1, "max": -1}[mode]),)


# %% make_or_restore
import re


def make_or_restore(folder, build):
    done = 0
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        number = re.fullmatch(r"after_(\d+)\.weights\.h5", name)
        if number:
            done = max(done, int(number[1]))
    model = build()
    if done:
        before = model.get_weights()
        model.optimizer.apply_gradients(
            [(tf.zeros_like(w), w) for w in model.trainable_variables]
        )
        model.set_weights(before)
        model.load_weights(os.path.join(folder, f"after_{done}.weights.h5"))
    return model, done


# %% WarmupCosine
@keras.saving.register_keras_serializable("course")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        self.config = dict(
            peak=peak,
            warmup_epochs=warmup_epochs,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
        )

    def __call__(self, step):
        c = self.config
        s = tf.cast(step, tf.float32)
        w = tf.constant(c["warmup_epochs"] * c["steps_per_epoch"], tf.float32)
        n = tf.constant(c["epochs"] * c["steps_per_epoch"], tf.float32)
        down = 0.5 * c["peak"] * (1.0 + tf.cos(np.pi * (s - w) / (n - w)))
        down = tf.where(s >= n, 0.0, down)
        return tf.cond(s < w, lambda: c["peak"] * (s + 1.0) / w, lambda: down)

    def get_config(self):
        return dict(self.config)


# %% simulate_plateau
def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    rates, best, bad, rest = [], np.inf, 0, 0
    for value in values:
        rates += [lr]
        rest = max(rest - 1, 0) if rest else 0
        if value + min_delta < best:
            best, bad = value, 0
        elif rest:
            bad = 0
        else:
            bad += 1
            if bad >= patience and lr > min_lr:
                lr = lr * factor if lr * factor > min_lr else min_lr
                rest, bad = cooldown, 0
    return np.array(rates)


# %% LRFinder
class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        self.rates = np.geomspace(lo, hi, steps)

    def on_train_begin(self, logs=None):
        optimizer = self.model.optimizer
        self.saved = [w.numpy() for w in self.model.weights], optimizer.learning_rate.numpy()
        self.learning_rates, self.losses = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.total = 0.0
        self.set_rate()

    def set_rate(self):
        rate = float(self.rates[len(self.losses)])
        self.model.optimizer.learning_rate.assign(rate)

    def on_train_batch_end(self, batch, logs=None):
        self.learning_rates.append(float(self.rates[len(self.losses)]))
        total = logs["loss"] * (batch + 1)
        self.losses.append(total - self.total)
        self.total = total
        if len(self.losses) < len(self.rates):
            self.set_rate()
        else:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if self.model.stop_training:
            weights, rate = self.saved
            for variable, value in zip(self.model.weights, weights):
                variable.assign(value)
            self.model.optimizer.learning_rate.assign(rate)
