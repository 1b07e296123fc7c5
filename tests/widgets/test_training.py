import pytest

import codial
from codial.widgets import LiveTraining
from codial.widgets.display import LiveFigure


class Screen(LiveFigure):
    """A live figure that keeps what would be drawn: the headline of each figure."""

    def __init__(self):
        super().__init__()
        self.headlines = []

    def update(self, draw, force=False):
        self.headlines.append((draw().get_suptitle(), force))
        return True


@pytest.fixture
def screen():
    return Screen()


def test_every_line_is_drawn_and_the_last_is_forced(tiny, few, tmp_path, screen):
    live = LiveTraining(tmp_path / "run", screen)
    run = codial.pretrain(tiny, tmp_path / "run", images=few, on_log=live, progress=False)
    assert len(screen.headlines) == len(run.history)
    assert live.finish().folder == run.folder
    assert [force for _, force in screen.headlines] == [False] * len(run.history) + [True]
    assert screen.headlines[0][0].startswith("tiny: step 0, epoch 0.0 of 2")
    assert screen.headlines[-1][0].startswith("tiny: step 6, epoch 2.0 of 2")


def test_a_finished_run_is_drawn_as_it_is(tiny, tiny_run, screen):
    live = LiveTraining(tiny_run.folder, screen)
    codial.pretrain(tiny, tiny_run.folder, on_log=live, progress=False)
    live.finish()
    assert [title.split(",")[0] for title, _ in screen.headlines] == ["tiny: step 6"]
