"""Programs of the kernel's packet filter (Linux, Documentation/networking/filter.rst, classic BPF), written with labels."""

import struct

# linux/filter.h, linux/bpf_common.h: class, size, mode
_LOAD = {4: 0x20, 2: 0x28, 1: 0x30}
_LOAD_AT_X = {4: 0x40, 2: 0x48, 1: 0x50}
_JUMP, _JUMP_EQUAL = 0x05, 0x15
_RETURN = 0x06
VLAN_TAG_PRESENT = 0xFFFFF000 + 48
"""An offset: 1 if the frame had a VLAN tag, which the kernel has taken out of it (SKF_AD_OFF, SKF_AD_VLAN_TAG_PRESENT)."""
PACKET_TYPE = 0xFFFFF000 + 4
"""An offset: PACKET_OUTGOING and the like of packet(7) (SKF_AD_PKTTYPE)."""
ALL = 0xFFFFFFFF


class PacketProgram:
    """The instructions, in order. A load beyond the end of the frame ends the program, as `leave(0)`.

    A program has an accumulator, an index, and words of memory. Offsets count from the frame's first byte.
    """

    def __init__(self) -> None:
        self._code: list[tuple[int, str, int]] = []
        """Operation, label of a jump or "", operand."""
        self._labels: dict[str, int] = {}

    def load(self, size: int, offset: int) -> None:
        """Load 1, 2 or 4 bytes, as a number in network order."""
        self._add(_LOAD[size], offset)

    def load_at_index(self, size: int, offset: int) -> None:
        """The same, at the index and `offset` bytes more."""
        self._add(_LOAD_AT_X[size], offset)

    def load_header_length(self, offset: int) -> None:
        """Set the index to the length of an IPv4 header, whose first byte is there."""
        self._add(0xB1, offset)

    def set_index(self, value: int) -> None:
        self._add(0x01, value)

    def index_from_accumulator(self) -> None:
        self._add(0x07, 0)

    def store(self, word: int) -> None:
        self._add(0x02, word)

    def load_stored(self, word: int) -> None:
        self._add(0x60, word)

    def set_accumulator(self, value: int) -> None:
        self._add(0x00, value)

    def mask(self, value: int) -> None:
        self._add(0x54, value)

    def add(self, value: int) -> None:
        self._add(0x04, value)

    def add_index(self) -> None:
        self._add(0x0C, 0)

    def shift_left(self, bits: int) -> None:
        self._add(0x64, bits)

    def jump_if(self, value: int, label: str) -> None:
        """Jump if the accumulator has this value."""
        # A conditional jump reaches 255 instructions. So it steps over a jump that reaches all.
        self._code.append((_JUMP_EQUAL, "next", value))
        self.jump(label)

    def jump_unless(self, value: int, label: str) -> None:
        """Jump if the accumulator has another value."""
        self._code.append((_JUMP_EQUAL, "over", value))
        self.jump(label)

    def jump(self, label: str) -> None:
        self._code.append((_JUMP, label, 0))

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def leave(self, value: int) -> None:
        """End with this result."""
        self._add(_RETURN, value)

    def _add(self, operation: int, operand: int) -> None:
        self._code.append((operation, "", operand))

    def instructions(self) -> list[tuple[int, int, int, int]]:
        """Operation, distance of the jump if it is true, and if it is false, operand (struct sock_filter)."""
        made = []
        for number, (operation, label, operand) in enumerate(self._code):
            if operation == _JUMP:
                made.append((operation, 0, 0, self._labels[label] - number - 1))
            elif label:
                made.append((operation, *((0, 1) if label == "next" else (1, 0)), operand))
            else:
                made.append((operation, 0, 0, operand))
        return made

    def packed(self) -> bytes:
        """The instructions as the kernel takes them: an array of struct sock_filter."""
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in self.instructions())

    def bytecode(self) -> str:
        """The text that tc-bpf(8) takes: the number of instructions, then each."""
        made = self.instructions()
        return ",".join([str(len(made)), *(" ".join(map(str, instruction)) for instruction in made)])
