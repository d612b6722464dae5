"""Images 1 to 44 of the list: half-copied, renamed, hostile, and in every form that cameras and programs write."""

import functools
import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from bad_inputs.case import Case, seeded, write
from PIL import Image, ImageCms

from tetrad.images.decoders import list_formats

SIDE = 96


@functools.cache
def noise(width: int = SIDE, height: int = SIDE, seed: int = 1) -> Image.Image:
    """An image of random blocks, so that it is no copy of another."""
    rng = seeded(seed)
    small = Image.frombytes("RGB", (8, 8), bytes(rng.randrange(256) for _ in range(192)))
    return small.resize((width, height), Image.Resampling.NEAREST)


def encode(image: Image.Image | None = None, file_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image or noise()).save(buffer, file_format, **options)
    return buffer.getvalue()


def flipped(content: bytes) -> bytes:
    """With one wrong byte in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def png(width: int, height: int, bits: int, rows: bytes) -> bytes:
    """An RGB PNG whose header has this size, and whose data are these rows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it has this size, with hardly any data."""
    return png(width, height, 8, bytes(50))


def png_with_rows(rows: int) -> bytes:
    """A PNG whose data has only so many rows, and its end."""
    return png(SIDE, SIDE, 8, b"".join(b"\0" + noise().crop((0, row, SIDE, row + 1)).tobytes() for row in range(rows)))


def skipped(number: int, title: str, name: str, content: bytes, code: str) -> Case:
    return Case(number, title, write(content, name), "skip", (code,))


def used(number: int, title: str, name: str, content: bytes, *codes: str, **expected: Any) -> Case:
    return Case(number, title, write(content, name), "fix", codes, **expected)


def plain(mode: str, colour: Any, patch: Any) -> Image.Image:
    """One colour with a patch of another one in a corner."""
    image = Image.new(mode, (SIDE, SIDE), colour)
    image.paste(patch, (0, 0, 16, 16))
    return image


def animation(file_format: str) -> bytes:
    first, second = plain("RGB", "red", "white"), plain("RGB", "lime", "white")
    return encode(first, file_format, save_all=True, append_images=[second])


def sixteen_bit() -> Image.Image:
    image = Image.new("I;16", (SIDE, SIDE), 0x8080)
    image.paste(0x1000, (0, 0, 16, 16))
    return image


def sixteen_bit_rgb() -> bytes:
    """PNG with 16 bits for each colour, which Pillow cannot write."""
    row = b"\0" + struct.pack(">HHH", 0xFFFF, 0x8080, 0) * (SIDE - 16) + struct.pack(">HHH", 0, 0, 0) * 16
    return png(SIDE, SIDE, 16, row * SIDE)


def palette_with_transparency() -> bytes:
    image = Image.new("P", (SIDE, SIDE), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (0, 0, 16, 16))
    return encode(image, transparency=0)


def oriented(number: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = number
    return encode(noise(SIDE, 72, number), "JPEG", exif=exif)


def wide_gamut() -> bytes:
    """Red and green exchanged by the profile, as a strange but valid one does."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"?", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"?", b"gXYZ", 1)
    return encode(plain("RGB", "red", "black"), icc_profile=swapped)


def photo_of_60_megapixels(folder: Path) -> None:
    noise(10_000, 6_000).save(folder / "a.jpg", "JPEG", quality=60)


def near_copies(folder: Path) -> None:
    noise().save(folder / "a.png")
    noise(128, 128).save(folder / "b.jpg", quality=70)
    noise().transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "c.webp", quality=80)


def exact_copies(folder: Path) -> None:
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(encode())


def plugin_cases(number: int, title: str, name: str, start: bytes, file_format: str, code: str) -> list[Case]:
    """A whole file and its first bytes, with the plugin for the format where it is installed, and without it."""
    if file_format not in list_formats():
        return [skipped(number, f"{title}, its first bytes; the plugin is not installed", name, start, code)]
    whole = encode(file_format=file_format, quality=90)
    return [
        used(number, title, name, whole),
        skipped(number, f"{title}, its first bytes", name, start, "E4106"),
        replace(skipped(number, f"{title} without the plugin", name, whole, code), has_plugins=False),
    ]


JPEG, PNG = encode(file_format="JPEG"), encode()
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
HEIC, JPEG_XL = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\xff\x0a\0\0"
DOCUMENTS = {
    "a.psd": b"8BPS\0\x01" + b"\0" * 40,
    "b.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n(%pipe%touch canary)\n",
    "c.png": b"%PDF-1.7\n",
    "d.tif": b"SIMPLE  =                    T",
    "e.bmp": b"DDS \x7c\0\0\0" + b"\0" * 120,
}

CASES = [
    skipped(1, "zero bytes", "a.jpg", b"", "E4101"),
    skipped(2, "one byte", "a.png", b"\xff", "E4103"),
    skipped(3, "text renamed .jpg", "a.jpg", b"just some words\n", "E4103"),
    skipped(4, "a web page renamed .png", "a.png", b"<!DOCTYPE html><html>404</html>", "E4104"),
    skipped(5, "a Git LFS pointer", "a.png", POINTER, "E4105"),
    skipped(6, "JPEG cut at half", "a.jpg", JPEG[: len(JPEG) // 2], "E4102"),
    skipped(6, "JPEG cut at half, with an end put behind it", "a.jpg", JPEG[: len(JPEG) // 2] + b"\xff\xd9", "E4102"),
    skipped(7, "JPEG without its last two bytes", "a.jpg", JPEG[:-2], "E4102"),
    skipped(8, "JPEG header only", "a.jpg", JPEG[:20], "E4102"),
    used(9, "JPEG with data after its end", "a.jpg", JPEG + b"extra" * 100, "W4130"),
    skipped(10, "PNG cut off", "a.png", PNG[: len(PNG) // 2], "E4102"),
    skipped(10, "PNG with half of its rows", "a.png", png_with_rows(SIDE // 2), "E4102"),
    skipped(11, "PNG with a bad byte", "a.png", flipped(PNG), "E4106"),
    skipped(12, "PNG of 0 × 0", "a.png", png_header(0, 0), "E4103"),
    skipped(13, "1 × 1", "a.png", encode(noise(1, 1)), "E4110"),
    skipped(14, "a strip of 1 × 5000", "a.png", encode(noise(1, 5000)), "E4111"),
    skipped(15, "shorter side 63", "a.png", encode(noise(63, 90)), "E4110"),
    Case(16, "shorter side 64, for a resolution of 256", write(encode(noise(64, 64)), "a.png"), "fix", ("W4131",),),
    skipped(17, "a PNG that says 10,000 × 10,000", "a.png", png_header(10_000, 10_000), "E4112"),
    skipped(18, "a PNG that says 20,000 × 20,000", "a.png", png_header(20_000, 20_000), "E4112"),
    Case(19, "a photo of 60 megapixels", photo_of_60_megapixels, "fix"),
    used(20, "CMYK JPEG", "a.jpg", encode(noise().convert("CMYK"), "JPEG"), "W4132"),
    used(21, "CMYK JPEG stored inverted, as Adobe does", "a.jpg",
         encode(plain("CMYK", (0, 255, 255, 0), (0, 0, 0, 0)), "JPEG", quality=95), "W4132", colour=(255, 0, 0)),
    used(22, "16-bit grey PNG", "a.png", encode(sixteen_bit()), "W4133", colour=(128, 128, 128)),
    used(23, "16-bit RGB PNG", "a.png", sixteen_bit_rgb(), colour=(255, 128, 0)),
    skipped(24, "float TIFF", "a.tif", encode(Image.new("F", (SIDE, SIDE), 1), "TIFF"), "E4109"),
    used(25, "1-bit PNG", "a.png", encode(plain("1", 1, 0)), colour=(255, 255, 255)),
    used(26, "palette PNG with transparency", "a.png", palette_with_transparency(), "W4134", colour=(255, 255, 255)),
    used(27, "red hidden under alpha 0", "a.png", encode(plain("RGBA", (255, 0, 0, 0), (0, 0, 255, 255))), "W4134",
         colour=(255, 255, 255)),
    used(28, "grey with alpha", "a.png", encode(plain("LA", (0, 0), (9, 255))), "W4134", colour=(255, 255, 255)),
    used(29, "animated GIF", "a.gif", animation("GIF"), "W4135", colour=(255, 0, 0)),
    used(30, "animated WebP", "a.webp", animation("WEBP"), "W4135"),
    used(31, "animated PNG", "a.png", animation("PNG"), "W4135", colour=(255, 0, 0)),
    *(used(32, f"EXIF orientation {number}", "a.jpg", oriented(number), "W4136") for number in range(2, 9)),
    used(33, "broken EXIF", "a.jpg", encode(file_format="JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")),
    used(34, "a colour profile of another colour space", "a.png", wide_gamut(), colour=(0, 255, 0)),
    used(35, "a corrupt colour profile", "a.png", encode(icc_profile=b"not a profile"), "W4138"),
    *plugin_cases(36, "HEIC", "a.heic", HEIC, "HEIF", "E4107"),
    used(37, "AVIF", "a.avif", encode(file_format="AVIF")),
    *plugin_cases(38, "JPEG XL", "a.jxl", JPEG_XL, "JXL", "E4108"),
    skipped(39, "SVG with a script", "a.svg", SVG, "E4109"),
    *(Case(40, f"{content[:4]!r} named {name}", write(content, name), "skip", ("E4109",), canary="canary")
      for name, content in DOCUMENTS.items()),
    used(41, "TIFF of two pages", "a.tif", animation("TIFF"), "W4135", colour=(255, 0, 0)),
    *(used(42, f"nothing but {colour}", "a.png", encode(Image.new("RGB", (SIDE, SIDE), colour)), "W4140")
      for colour in ("black", "white", "teal")),
    Case(43, "the same file twice", exact_copies, "fix", ("W4155",)),
    Case(44, "resized, re-encoded and mirrored copies", near_copies, "fix", ("W4156",)),
]  # fmt: skip
