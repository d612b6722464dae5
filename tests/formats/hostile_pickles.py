"""Pickles of the shapes that have beaten other readers, each written instruction by instruction.

`read_all` reads every one and counts what became of it: `python tests/formats/hostile_pickles.py --rounds 20`.
"""

import argparse
import io
import itertools
import random
import struct
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_weight_file

STORAGE_BYTES = 64  # sixteen floats
HUGE = (2**31, 2**32, 2**40, 2**62, 2**63 - 1)
NUMBERS = (0, 1, 15, 16, 17, 1000, -1, -16, *HUGE, *(-number for number in HUGE))


# --- Instructions


def text(value: str) -> bytes:
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def tuple_of(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def storage(numel: int = 16, dtype: str = "FloatStorage", key: str = "0", place: str = "cpu") -> bytes:
    return tuple_of(text("storage"), name("torch", dtype), text(key), text(place), number(numel)) + b"Q"


def tensor(
    own: bytes | None = None,
    offset: bytes = number(0),
    size: bytes = tuple_of(number(4)),
    stride: bytes = tuple_of(number(1)),
) -> bytes:
    arguments = tuple_of(own or storage(), offset, size, stride, b"\x89", name("collections", "OrderedDict") + b")R")
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def model(*values: bytes) -> bytes:
    """A pickle of a dict with these values."""
    items = b"".join(text(f"t{index}") + value for index, value in enumerate(values))
    return b"\x80\x02}(" + items + b"u."


# --- Containers


def container(pickled: bytes, root: str = "archive", data: bytes = bytes(range(STORAGE_BYTES)), **more: bytes) -> bytes:
    """torch's zip container."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{root}/data.pkl", pickled)
        archive.writestr(f"{root}/byteorder", b"little")
        archive.writestr(f"{root}/data/0", data)
        archive.writestr(f"{root}/version", b"3\n")
        for path, content in more.items():
            archive.writestr(path.replace("__", "/"), content)
    return buffer.getvalue()


def old_container(pickled: bytes, keys: bytes = b"]" + text("0") + b"a", sizes: tuple[int, ...] = (16,)) -> bytes:
    """torch's container before 2020: magic number, protocol, system, the pickle, the keys, then the storages."""
    magic = b"\x80\x02\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + b"."
    system = b"\x80\x02}(" + text("little_endian") + b"\x88" + text("protocol_version") + number(1001) + b"u."
    data = b"".join(struct.pack("<q", size) + bytes(4 * 16) for size in sizes)
    return magic + b"\x80\x02M\xe9\x03." + system + pickled + b"\x80\x02" + keys + b"." + data


def compressed_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", model(tensor()))
        archive.writestr("archive/data/0", bytes(200_000_000))
    return buffer.getvalue()


# --- The cases: name, content, and whether it must be named as asking for a program


def lying_tensors() -> Iterator[tuple[str, bytes]]:
    """Element counts, offsets, sizes and strides that do not fit their storage."""
    for value in NUMBERS:
        yield f"storage of {value}", model(tensor(storage(value)))
        yield f"offset {value}", model(tensor(offset=number(value)))
        yield f"size {value}", model(tensor(size=tuple_of(number(value))))
        yield f"stride {value}", model(tensor(stride=tuple_of(number(value))))
        yield f"size and stride {value}", model(tensor(size=tuple_of(number(value)), stride=tuple_of(number(value))))
        yield (
            f"two sides of {value}",
            model(tensor(size=tuple_of(number(value), number(value)), stride=tuple_of(number(0), number(0)))),
        )
        yield f"storage and size {value}", model(tensor(storage(value), size=tuple_of(number(value))))
    small_first = (
        tensor(storage(16, "ByteStorage")),
        tensor(storage(4096, "DoubleStorage"), size=tuple_of(number(4096))),
    )
    yield "one storage under two types", model(*small_first)
    yield "one storage with two lengths", model(tensor(storage(4)), tensor(storage(4096), size=tuple_of(number(4096))))
    yield "more sides than strides", model(tensor(size=tuple_of(number(2), number(2))))
    yield (
        "ten thousand sides",
        model(tensor(size=tuple_of(*[number(1)] * 10_000), stride=tuple_of(*[number(1)] * 10_000))),
    )
    for wrong in (b"N", b"\x88", text("4"), b"]", b"}", b"G" + struct.pack(">d", 1e300), tensor()):
        for place in ("offset", "size", "stride", "own"):
            yield f"{place} of another kind", model(tensor(**{place: wrong}))
    yield "a storage that is no storage", model(tensor(name("collections", "OrderedDict") + b")R"))
    yield "a storage that is missing", model(tensor(storage(key="7")))
    yield "a storage by a path", model(tensor(storage(key="../../../../etc/passwd")))
    yield "a storage on another device", model(tensor(storage(place="cuda:7")))
    yield "a storage on the meta device", model(tensor(storage(place="meta")))


def lying_instructions() -> Iterator[tuple[str, bytes]]:
    """Items set, appended and built on what is no dict, list or object [CVE-2026-24747], and other wrong stacks."""
    for target_name, target in {
        "tensor": tensor(),
        "storage": storage(),
        "text": text("a"),
        "number": number(5),
    }.items():
        yield f"item set on a {target_name}", model(target + number(0) + number(2**40) + b"s")
        yield f"items set on a {target_name}", model(target + b"(" + number(9**9) + tensor() + b"u")
        yield f"items appended to a {target_name}", model(target + b"(" + tensor() + b"e")
        yield f"a {target_name} built with a state", model(target + tuple_of(storage(), *[number(2**40)] * 3) + b"b")
    parameter = name("torch.nn.parameter", "Parameter") + b")\x81"
    yield "a parameter built with a state", model(parameter + tuple_of(storage(), number(2**40)) + b"b")
    yield "a dict inside itself", b"\x80\x02}q\x00" + text("a") + b"h\x00s."
    yield "a list inside itself", model(b"]q\x01h\x01a")
    yield "odd items", b"\x80\x02}(" + text("a") + b"u."
    yield "an empty stack", b"\x80\x02."
    yield "reduce of nothing", b"\x80\x02R."
    yield "a memo that is not there", model(b"h\x99")
    yield "no end", b"\x80\x02}(" * 50
    yield "endless marks", b"\x80\x02" + b"(" * 301_000 + b"."
    yield "a hundred thousand tuples in one another", b"\x80\x02)" + b"\x85" * 100_000 + b"."
    yield "a text longer than the file", b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"abc."
    yield "a number of 2^31 bytes", b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\1."
    yield "a memo at 2^32 - 1", model(b"]r" + struct.pack("<I", 2**32 - 1))
    yield "endless instructions", b"\x80\x02]" + b"NN00" * 76_000 + b"."
    for code in (
        b"\x82\x01",
        b"\x83\x01\x01",
        b"\x84\x01\0\0\0",
        b"P0\n",
        b"2",
        b"0",
        b"1",
        b"I01\n",
        b"Vx\n",
        b"\xff",
    ):
        yield f"instruction {code[:1].hex()}", model(code)


def newer_instructions() -> Iterator[tuple[str, bytes]]:
    """Protocols 4 and 5."""
    short = lambda value: b"\x8c" + bytes([len(value)]) + value.encode()  # noqa: E731
    yield "a frame of 2^63 bytes", b"\x80\x04\x95" + b"\xff" * 8 + b"}."
    yield "a frame that ends too soon", b"\x80\x04\x95\1" + b"\0" * 7 + b"}" + short("a") + b"Ns."
    yield "a text of 2^63 bytes", b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7fabc."
    yield "bytes of 2^63 bytes", b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fabc."
    yield "a byte array of 2^40 bytes", b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc."
    yield "a buffer from outside", b"\x80\x05\x97\x98."
    yield "an empty memo", b"\x80\x04\x94."
    yield "a frozen set", b"\x80\x04(" + short("a") + b"\x91."
    yield "an object with keywords", b"\x80\x04" + short("collections") + short("OrderedDict") + b"\x93)}\x92."


def memo_bombs() -> Iterator[tuple[str, bytes]]:
    """A few hundred bytes that unfold to billions of values."""
    for kind, start, end in (("lists", b"]", b"e"), ("tuples", b"", b"t"), ("dicts", b"}", b"u")):
        bomb = b"\x80\x02" + text("x") + b"q\x00"
        for level in range(40):
            items = b"".join((number(each) if kind == "dicts" else b"") + b"h" + bytes([level]) for each in range(50))
            bomb += start + b"(" + items + end + b"q" + bytes([level + 1])
        yield f"{kind} that hold one another", b"\x80\x02}" + text("a") + bomb[2:] + b"s."
    yield (
        "a tensor named a hundred thousand times",
        model(b"](" + tensor() + b"q\x05" + b"h\x05" * 100_000 + b"e", text("y" * 1_000_000)),
    )


def programs() -> Iterator[tuple[str, bytes]]:
    """Calls of functions, by every way that a pickle has for it."""
    short = lambda value: b"\x8c" + bytes([len(value)]) + value.encode()  # noqa: E731
    command = tuple_of(text("echo ran >> canary"))
    for module, attribute in (
        ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"), ("builtins", "eval"),
        ("__builtin__", "exec"), ("builtins", "getattr"), ("runpy", "_run_code"), ("pickle", "loads"),
        ("importlib", "import_module"), ("operator", "attrgetter"), ("functools", "partial"), ("ctypes", "CDLL"),
        ("webbrowser", "open"), ("bdb", "Bdb.run"), ("idlelib.pyshell", "ModifiedInterpreter.runcode"),
        ("asyncio.unix_events", "_UnixSubprocessTransport._start"), ("cProfile", "run"), ("pydoc", "pipepager"),
        ("torch", "load"), ("torch.hub", "load"), ("torch.serialization", "load"), ("torch.jit", "load"),
        ("torch._inductor.codecache", "compile_file"), ("torch.utils.cpp_extension", "load_inline"),
        ("torch.storage", "_load_from_bytes"), ("numpy", "load"), ("numpy.testing._private.utils", "runstring"),
        ("collections", "namedtuple"), ("_codecs", "lookup"), ("torch", "FloatTensor"), ("torch", "FloatStorage"),
        ("builtins", "bytearray"),
    ):  # fmt: skip
        called = "a call of" if attribute not in ("FloatTensor", "FloatStorage", "bytearray") else "memory by"
        arguments = command if called == "a call of" else tuple_of(number(1000))
        yield f"{called} {module}.{attribute}", model(tensor(), name(module, attribute) + arguments + b"R")
    yield "a call by INST", model(b"(" + text("echo ran >> canary") + b"ios\nsystem\n")
    yield "a call by OBJ", model(b"(" + name("os", "system") + text("echo ran >> canary") + b"o")
    yield "a call by NEWOBJ", model(name("subprocess", "Popen") + command + b"\x81")
    yield "a call by STACK_GLOBAL", b"\x80\x04" + short("os") + short("system") + b"\x93" + command + b"R."
    remembered = b"\x80\x04" + short("system") + b"\x940" + short("os") + b"h\x00\x93" + command + b"R."
    yield "a call by STACK_GLOBAL with a remembered name", remembered
    yield "a call by BUILD", model(name("os", "system") + b"}" + text("__setstate__") + name("os", "system") + b"sb")
    yield "a call after the end", model(tensor()) + b"cos\nsystem\n" + command + b"R."


def containers() -> Iterator[tuple[str, bytes]]:
    """Archives that are cut, nested, doubled, compressed, or whose two directories say different things."""
    good, evil = model(tensor()), model(name("os", "system") + tuple_of(text("echo ran >> canary")) + b"R")
    whole = container(good)
    yield "a nested archive", container(container(evil))
    yield "an archive three deep", container(container(container(good)))
    yield "an archive behind other bytes", b"MZ" + bytes(500) + container(evil)
    yield "two archives, one after another", container(good) + container(evil)
    yield "two pickles", container(good, other__data__pkl=b"", **{"other/data.pkl": evil})
    yield "a pickle in the folder above", container(good, **{"data.pkl": evil})
    yield "a zip without a model", container(good).replace(b"data.pkl", b"data.txt")
    yield (
        "another name in the central directory",
        whole[:100] + whole[100:].replace(b"archive/data.pkl", b"archive/data.pk1"),
    )
    yield "another name at the member", whole.replace(b"archive/data.pkl", b"archive/data.pk1", 1)
    member, directory = whole.index(b"PK\x03\x04"), whole.index(b"PK\x01\x02")
    for title, place in (("the member", member + 18), ("the central directory", directory + 20)):
        for size in (0, 3, 10**6, 2**32 - 2):
            packed = struct.pack("<II", size, size)
            yield f"size {size} in {title}", whole[:place] + packed + whole[place + 8 :]
    for offset in (1, 10**6, 2**32 - 2):
        place = directory + 42
        yield (
            f"offset {offset} in the central directory",
            whole[:place] + struct.pack("<I", offset) + whole[place + 4 :],
        )
    yield "marked as encrypted", whole[: member + 6] + b"\1" + whole[member + 7 :]
    yield "a bad checksum", whole[: member + 14] + b"\0\0\0\0" + whole[member + 18 :]
    yield "a compressed bomb", compressed_bomb()
    yield "a storage with too little data", container(good, data=b"\0" * 8)
    yield "no storage", container(good).replace(b"archive/data/0", b"archive/data/9")
    yield "an unknown order of bytes", container(good).replace(b"little", b"middle")
    yield "a root with dots", container(good, root="../../evil")
    for sizes in ((), (0,), (15,), (17,), (2**40,), (-1,), (2**62,), (16, 16)):
        yield f"old container with storages of {sizes}", old_container(good, sizes=sizes)
    for keys in (b"]", b"]" + text("7") + b"a", b"N", b"]" + number(0) + b"a", b"](" + text("0") * 1000 + b"e"):
        yield "old container with other keys", old_container(good, keys=keys)
    view = tuple_of(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), number(16),
                    tuple_of(text("v"), number(10**6), number(10**6))) + b"Q"  # fmt: skip
    yield "old container with a view beyond its storage", old_container(model(tensor(view)))
    yield "old container with a program", old_container(evil)


def mutations(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Good files with some bytes changed, cut out or doubled, in both containers."""
    rng = random.Random(seed)
    good = model(tensor(), tensor(offset=number(4)), text("name"), number(7))
    for index in range(count):
        content = bytearray(rng.choice((container, old_container))(good))
        for _change in range(rng.randint(1, 4)):
            place = rng.randrange(len(content))
            kind = rng.randrange(4)
            if kind == 0:
                content[place] = rng.randrange(256)
            elif kind == 1:
                content[place] ^= 1 << rng.randrange(8)
            elif kind == 2:
                del content[place : place + rng.randint(1, 40)]
            else:
                content[place:place] = content[place : place + rng.randint(1, 40)]
        yield f"mutation {index} of seed {seed}", bytes(content)


def generate(mutation_count: int, seed: int = 0) -> Iterator[tuple[str, bytes, bool]]:
    """Every case in both containers and bare, and whether its program must be named."""
    lies = itertools.chain(lying_tensors(), lying_instructions(), newer_instructions(), memo_bombs())
    for title, pickled in lies:
        yield title, container(pickled), False
        yield f"old: {title}", old_container(pickled), False
    for title, pickled in programs():
        for form, content in (("", container(pickled)), ("old: ", old_container(pickled)), ("bare: ", pickled)):
            is_read_whole = "after the end" in title  # readers stop at the end, so that nothing would run
            yield form + title, content, not is_read_whole
    for title, content in itertools.chain(containers(), mutations(mutation_count, seed)):
        yield title, content, False


def read(path: Path, content: bytes) -> str:
    """What becomes of a file: "read", or the code of its error; any other exception is a bug of ours."""
    path.write_bytes(content)
    try:
        tensors: dict[str, Any] = read_weight_file(path).tensors
    except TetradError as error:
        return f"{error.code} {error.message}"
    for each in tensors.values():
        last = each.storage_offset() + sum((n - 1) * step for n, step in zip(each.shape, each.stride(), strict=True))
        assert not all(each.shape) or 0 <= last * each.itemsize < each.untyped_storage().nbytes(), "reads out of bounds"
        each.float().sum()
    return "read"


def read_all(folder: Path, mutation_count: int, seed: int = 0) -> Counter[str]:
    """Read every file; counts by code. AssertionError where one runs a program, or takes long, or is not named."""
    counts: Counter[str] = Counter()
    canary = Path.cwd() / "canary"
    for title, content, is_program in generate(mutation_count, seed):
        start = time.process_time()  # other programs do not count
        outcome = read(folder / "a.ckpt", content)
        seconds = time.process_time() - start
        assert not canary.exists(), f"{title} ran a program"
        assert not is_program or outcome.startswith("E5010"), (title, outcome)
        assert seconds < 10, (title, seconds)
        counts[outcome[:5].strip()] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="of all cases and 2,000 mutations each")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.rounds):
            counts += read_all(Path(folder), 2000, seed)
    print(f"{counts.total()} pickles: 0 ran a program, 0 were read out of bounds; {dict(counts)}")


if __name__ == "__main__":
    main()
