"""Ways to damage an annotation file: its bytes, its lines, its encoding, the values in it."""

import codecs
import json
import random

TOKENS = (
    *(
        b'"',
        b"\t",
        b",",
        b";",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"\x81",
        b"\x92",
        b"\xff\xfe",
        b"\xe9",
        b"_____",
        b"[MASK]",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"../",
        b"nan",
        b"none",
        b"-1",
        b"5",
        b"1e9",
        b"{",
    ),
    *(
        b"}",
        b"[",
        b"]",
        b"null",
        b"true",
        b"NaN",
        b'\\ud800"',
        b"\\u0000",
        b"CLIP_ID",
        b"  ",
        b"9" * 5000,
        b"x" * 140_000,
    ),
)


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(data))
        match rng.randrange(4):
            case 0:
                data = data[:place] + rng.choice(TOKENS) + data[place:]
            case 1:
                data = data[:place] + data[place + rng.randint(1, 20) :]
            case 2:
                data = data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
            case 3:
                data = data[:place]
    return data


def damage_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            lines.insert(place, rng.choice(lines))
        case 1:
            del lines[place]
        case 2:
            lines[place] = b""
        case 3:
            rng.shuffle(lines)
        case 4:
            fields = lines[place].split(b"\t")
            fields[rng.randrange(len(fields))] = rng.choice((*TOKENS, b"", b" "))
            lines[place] = b"\t".join(fields)
        case 5:
            lines[place] = b"\t".join(lines[place].split(b"\t")[: rng.randint(0, 6)])
    return b"\n".join(lines)


def damage_encoding(data: bytes, rng: random.Random) -> bytes:
    text = data.decode("utf-8")
    match rng.randrange(5):
        case 0:
            return codecs.BOM_UTF8 + data
        case 1:
            return text.encode("utf-16")
        case 2:
            return text.encode("utf-16")[: rng.randint(0, 2 * len(text))]
        case 3:
            return text.replace("e", rng.choice("é€\u2028\x85")).encode(rng.choice(["utf-8", "utf-16-be", "utf-32"]))
        case _:
            return text.replace("\r\n", "\n").replace("\n", rng.choice(["\r\n", "\r", "\n\n", "\n \n"])).encode()


def damage_values(data: bytes, rng: random.Random) -> bytes:
    """Put something else in the place of a value, or leave it out, in the lines or the list of a JSON file."""
    odd = (None, True, -1, 5, 1.5, "", " ", "\ud800", "a\0b", [], {}, ["a"] * 5, [""] * 5, "x" * 9999, "../x", 10**30)
    try:
        values = json.loads(data)
        separator = None
    except ValueError:
        try:
            values = [json.loads(line) for line in data.splitlines()]
        except ValueError:
            return damage_lines(data, rng)
        separator = "\n"
    if isinstance(values, dict):
        values, separator = [values], "\n"
    for _ in range(rng.randint(1, 3)):
        row = rng.randrange(len(values))
        if isinstance(values[row], dict) and values[row] and rng.random() < 0.8:
            name = rng.choice(sorted(values[row]))
            values[row][name] = rng.choice(odd)
            if rng.random() < 0.3:
                del values[row][name]
        else:
            values[row] = rng.choice(odd)
    text = json.dumps(values) if separator is None else separator.join(map(json.dumps, values))
    return text.encode()


DAMAGES = (damage_bytes, damage_bytes, damage_lines, damage_encoding, damage_values)
