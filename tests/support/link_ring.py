"""A ring of the console link, for tests of what is written to it."""


class Ring:
    """Takes what there is room for."""

    def __init__(self, room: int = 1 << 20) -> None:
        self.room = room
        self.given = b""

    def write(self, data: bytearray) -> int:
        taken = bytes(data[: self.room])
        self.given += taken
        return len(taken)
