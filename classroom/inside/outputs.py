"""What a notebook's cells print and draw, as far as there is room."""

import io
from typing import Any


class Outputs(io.TextIOBase):
    """What a cell prints and draws, in nbformat's words, up to a number of characters in all."""

    def __init__(self, room: int) -> None:
        self.room, self.cell = room, []

    def add(self, output: dict[str, Any], size: int) -> None:
        """Keep an output if there is room."""
        if self.room < 0:
            return
        self.room -= size
        if self.room < 0:
            output = {"output_type": "stream", "name": "stderr", "text": "[The rest of the output was cut.]\n"}
        self.cell.append(output)

    def stream(self, name: str, text: str) -> None:
        """Keep a piece of text."""
        text = str(text)[: max(self.room, 0) + 1]
        last = self.cell[-1] if self.cell else {}
        if last.get("name") == name and len(text) <= self.room and len(last["text"]) < 10_000:
            self.room -= len(text)
            last["text"] += text
        elif text:
            self.add({"output_type": "stream", "name": name, "text": text}, len(text) + 20)

    def error(self, kind: str, message: str, lines: list[str]) -> None:
        """Keep an error, in one line where there is no more room: it says why a test fails."""
        output = {"output_type": "error", "ename": kind, "evalue": message, "traceback": lines}
        if sum(map(len, lines)) < self.room:
            self.add(output, sum(map(len, lines)))
        else:
            self.cell.append(output | {"traceback": [f"{kind}: {message[:200]}"]})

    def show(self, kind: str, data: dict[str, Any]) -> None:
        """Keep a value or a picture."""
        data = {key: text for key, text in data.items() if key in ("text/plain", "image/png") and isinstance(text, str)}
        self.add({"output_type": kind, "data": data, "metadata": {}}, sum(map(len, data.values())) + 100)


class Stream(io.TextIOBase):
    """Standard output or standard error."""

    encoding = "utf-8"

    def __init__(self, name: str, outputs: Outputs) -> None:
        self.name, self.outputs = name, outputs

    def writable(self) -> bool:
        """It can be written to."""
        return True

    def write(self, text: str) -> int:
        """Keep a text."""
        self.outputs.stream(self.name, text)
        return len(text)
