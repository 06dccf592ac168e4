"""Text of new tokens, shown while they are drawn."""

from data.vocabularies.vocabulary import Vocabulary


class NewText:
    """Turn the new tokens of one row into text, up to the mark that ends it."""

    def __init__(self, vocabulary: Vocabulary, prompt: list[int], *, skips_space: bool):
        """`skips_space`: the first character is a space that the prompt already shows."""
        self._decoder = vocabulary.stream_decoder(prompt)
        self._end_id = vocabulary.eos_id
        self._skips_space = skips_space
        self._running = True

    def feed(self, tokens: list[int]) -> str:
        """Return the text that the tokens complete."""
        text = ""
        for token in tokens:
            self._running = self._running and token != self._end_id
            if self._running:
                text += self._decoder.feed(token)
        if self._skips_space and text:
            text = text.removeprefix(" ")
            self._skips_space = False
        return text

    def flush(self) -> str:
        """Return U+FFFD if the row ends inside a character, otherwise an empty text."""
        return self._decoder.flush()
