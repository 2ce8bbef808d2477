"""The form that all pictures share: size, colours, and how they are shown."""

import base64
import html
import io

from helpers.checks.show import display_bundle, in_notebook

BLUE, ORANGE, GREY = "#3366aa", "#ee7733", "#999999"
STYLE = {
    "figure.figsize": (5, 3),
    "figure.dpi": 80,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "font.size": 9,
}
LINES = (
    {"color": BLUE, "linestyle": "-", "marker": "o", "markersize": 3},
    {"color": ORANGE, "linestyle": "--", "marker": "s", "markersize": 3},
    {"color": GREY, "linestyle": ":", "marker": "^", "markersize": 3},
)


def show_picture(title, xlabel, ylabel, alt, draw, size=None, panels=1, area=None):
    """Draw on styled, labelled axes and show the picture with its description.

    Args:
        alt: what a reader who cannot see the picture is told, made from the data.
        draw: function of the axes; of an array of axes where `panels` is more than 1.
        size: inches (width, height), 5 x 3 by default.
        panels: how many axes stand side by side, each titled by `draw`.
        area: an `Area` that the picture replaces; by default it is shown anew.
    """
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, panels, figsize=size)
        draw(axes)
        if panels == 1:
            axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        else:
            figure.suptitle(title, x=0.02, ha="left")
            figure.supxlabel(xlabel)
            figure.supylabel(ylabel)
        figure.tight_layout()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    image = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
    show = area.update if area else display_bundle
    show(alt, **{"text/html": image})


class Area:
    """A place in a cell's output whose content can be replaced.

    It is empty at the beginning and after `clear`, so a notebook that is run again
    has the same outputs, however many pictures were shown in between.
    """

    def __init__(self):
        self.handle = None
        if in_notebook():
            from IPython.display import DisplayHandle

            self.handle = DisplayHandle()
            self.handle.display({"text/plain": ""}, raw=True)

    def update(self, text, **formats):
        if self.handle:
            self.handle.update({"text/plain": text, **formats}, raw=True)

    def clear(self):
        self.update("")
