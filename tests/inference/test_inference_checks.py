"""What a loaded model is not given."""

from __future__ import annotations

import pytest

from server.errors import Unsupported
from server.inference.checks import check_loaded, check_places
from server.messages.frames import Loaded, Media
from server.prompts.chat import Prompt
from tests.pictures import picture, silence

LOADED = {"context_tokens": 1, "slots": 1, "train_context_tokens": 1, "vocab_size": 1, "add_bos": False}
SEEN = Prompt(text="x", media=(Media(place=0, data=picture("red")),), image_count=1)
HEARD = Prompt(text="x", media=(Media(place=0, data=silence()),), image_count=1)


def test_a_model_whose_projector_is_not_there() -> None:
    """native-api 211: whatever its capabilities list"""
    for prompt, words in ((SEEN, "image input is not supported"), (HEARD, "audio input is not supported")):
        with pytest.raises(Unsupported, match=f'{words} by "m".*projector'):
            check_loaded("m", prompt, Loaded(**LOADED))
        check_loaded("m", prompt, Loaded(**LOADED, can_see=True, can_hear=True))
    check_loaded("m", Prompt(text="x"), Loaded(**LOADED))
    with pytest.raises(Unsupported, match="audio"):
        check_loaded("m", HEARD, Loaded(**LOADED, can_see=True))


def test_an_image_that_a_template_leaves_out() -> None:
    check_places(SEEN)
    with pytest.raises(Unsupported, match="leaves out 1 of 2 images"):
        check_places(Prompt(text="x", media=SEEN.media, image_count=2))
