"""What a disk may do to a file."""


def flip(path, position, bit=0):
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)
