"""A machine that lacks the image of a job is sent it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import pytest

from overnight.schemas.errors import SandboxUnavailable, UsageError
from overnight.tasks.evaluate.cluster import cluster_pool as module
from overnight.tasks.evaluate.cluster.messages import (
    Answer,
    answer_bytes,
)
from tests.accidents import wait_until
from tests.evaluate.cluster.fake_cluster import (
    LONG_S,
    FakeCluster,
    FakeMachine,
    Setting,
)


class FakeStore:
    """Backend of the head that has an image, in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.saved: list[str] = []
        self.is_closed = False

    def save_image(self, image: str) -> Iterator[bytes]:
        self.saved.append(image)
        yield from self.pieces

    def load_image(self, archive: IO[bytes]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.is_closed = True


class Importer(FakeMachine):
    """A machine that lacks the image until it has got the last part of it.

    Args:
        name: Its name.
        fault: Reason why it takes no part.

    Attributes:
        parts: Image, number and content of each part, and whether it is the last.
        loaded: How often it has loaded the image.
    """

    def __init__(self, name: str, fault: str = "") -> None:
        super().__init__(name, 4)
        self.lacks_image = True
        self.fault = fault
        self.parts: list[tuple[str, int, bytes, bool]] = []
        self.loaded = 0

    def run(self, task: str, args: tuple[Any, ...]) -> Any:
        if task != "take_image_part":
            return super().run(task, args)
        self.asked.append(task)
        backend, image, number, content, is_last = args
        assert backend == "made"
        self.parts.append((image, number, content, is_last))
        if self.fault:
            return answer_bytes(Answer(fault=self.fault))
        self.loaded += is_last
        self.lacks_image = not is_last
        return answer_bytes(Answer())


def use(store: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PART", 10)
    monkeypatch.setattr(module, "create_backend", lambda name: store)


PIECES = {
    "many short ones": [bytes([number]) for number in range(95)],
    "one long one": [b"x" * 100],
    "as long as a part": [b"x" * 10, b"y" * 10, b"z" * 10],
    "one of no length": [b""],
    "none": [],
}


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_a_machine_that_lacks_the_image_is_sent_it_in_parts_once(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]
):
    store, one = FakeStore(*pieces), Importer("one")
    use(store, monkeypatch)
    pool = setting.pool(FakeCluster(one))
    begun = [setting.begin(pool, str(number)) for number in range(20)]
    assert {verdict.result(LONG_S).machine for verdict in begun} == {"one"}
    images, numbers, contents, lasts = zip(*one.parts, strict=True)
    assert b"".join(contents) == b"".join(pieces)
    assert numbers == tuple(range(len(one.parts)))
    assert lasts == (False,) * (len(one.parts) - 1) + (True,)
    assert set(images) == {"sha256:1"}
    assert (one.loaded, store.saved, store.is_closed) == (1, ["sha256:1"], True)
    assert one.asked[:2] == ["examine", "open_job"]
    assert one.asked.count("open_job") == 2
    assert setting.notes == ["sending the image to one, once"]


def test_parts_of_an_image_are_no_longer_than_needed(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    one = Importer("one")
    use(FakeStore(*[b"abc"] * 20), monkeypatch)
    setting.pool(FakeCluster(one)).evaluate("x")
    assert [len(content) for _, _, content, _ in one.parts] == [12] * 5


def test_a_machine_that_cannot_take_the_image_is_set_aside_and_sent_nothing_more(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
):
    full, sound = Importer("full", "no space left on device"), FakeMachine("sound")
    store = FakeStore(*[b"x" * 10] * 5)
    use(store, monkeypatch)
    pool = setting.pool(FakeCluster(full, sound))
    assert pool.evaluate("x").machine == "sound"
    wait_until(lambda: len(setting.notes) == 2)
    assert setting.notes[1] == "machine full is set aside: no space left on device"
    assert len(full.parts) == 1
    assert store.is_closed


def test_a_backend_without_images_to_send_leaves_the_machine_aside(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    class Bare:
        def close(self) -> None:
            pass

    use(Bare(), monkeypatch)
    setting.pool(FakeCluster(Importer("one")))
    wait_until(lambda: len(setting.notes) == 2)
    assert setting.notes[1] == "machine one is set aside: it has no image sha256:1"


def test_a_head_that_cannot_read_the_image_sets_the_machine_aside(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    class Gone(FakeStore):
        def save_image(self, image: str) -> Iterator[bytes]:
            raise SandboxUnavailable("the head's engine is gone")

    store = Gone()
    use(store, monkeypatch)
    setting.pool(FakeCluster(Importer("one")))
    wait_until(lambda: len(setting.notes) == 2)
    assert setting.notes[1] == "machine one is set aside: the head's engine is gone"
    assert store.is_closed


def test_any_error_while_a_machine_is_given_the_job_is_told(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    def no_backend(name: str) -> None:
        raise UsageError("sandbox.backend: expected docker, got 'made'")

    monkeypatch.setattr(module, "create_backend", no_backend)
    setting.pool(FakeCluster(Importer("one")))
    wait_until(lambda: len(setting.notes) == 2)
    assert setting.notes[1] == "machine one is set aside: sandbox.backend: expected docker, got 'made'"
