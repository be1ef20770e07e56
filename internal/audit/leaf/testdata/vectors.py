#!/usr/bin/env python3
"""Writes vectors.json: a second implementation of leaf format v1, made from its description and sharing no code with
the first. Run it only to add a vector: python3 vectors.py > vectors.json. The vectors that are there never change."""
import base64, hashlib, hmac, json, re, struct
from datetime import datetime, timezone

MASTER = bytes(range(32))


def text_of(s):  # a Go string: text, {"hex": bytes} or {"repeat": [string, n]}
    if isinstance(s, str):
        return s.encode()
    return bytes.fromhex(s["hex"]) if "hex" in s else text_of(s["repeat"][0]) * s["repeat"][1]


def quote(s):
    return json.dumps(s, ensure_ascii=False).encode()


def obj(pairs):
    return b"{" + b",".join(quote(k) + b":" + v for k, v in sorted(pairs)) + b"}"


def fixed(s):
    raw, clean, i = text_of(s), "", 0
    while i < len(raw):
        for n in (1, 2, 3, 4):
            try:
                clean += raw[i:i + n].decode()
                i += n
                break
            except UnicodeDecodeError:
                pass
        else:
            clean += "\ufffd"
            i += 1
    b = clean.encode()
    if len(b) > 200:
        cut = b[:128].decode(errors="ignore")
        clean = cut + "$sha256:" + hashlib.sha256(raw).hexdigest()
    return quote(clean)


def key(k):
    raw = text_of(k)
    if not re.fullmatch(rb'[ !#-\[\]-~]*', raw):
        return "$k:" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return ("$" if raw.startswith(b"$") else "") + raw.decode()


def trunc(canonical):
    return obj([("$trunc", obj([("len", b"%d" % len(canonical)), ("sha256", quote(hashlib.sha256(canonical).hexdigest()))]))])


def string(raw):
    try:
        return quote(raw.decode())
    except UnicodeDecodeError:
        return octets(raw)


def octets(raw):
    return obj([("$b64", quote(base64.b64encode(raw).decode()))])


def value(v, inside, limit=6):  # v as in the vectors' details; inside so many objects and arrays
    (kind, x), = v.items()
    if kind == "null":
        return b"null"
    if kind == "bool":
        return b"true" if x else b"false"
    if kind == "int":
        return b"%d" % int(x) if abs(int(x)) < 2**53 else obj([("$int", quote(str(int(x))))])
    if kind == "str":
        raw = text_of(x)
        return trunc(string(raw)) if len(raw) > 4096 else string(raw)
    if kind == "bytes":
        raw = text_of(x)
        return trunc(octets(raw)) if len(raw) > 4096 else octets(raw)
    if kind == "nest":  # so many lists around a value
        n, inner = x
        return value({"list": [{"nest": [n - 1, inner]}]} if n else inner, inside, limit)
    if inside + 1 > limit:
        return trunc(value(v, inside, 10**6))
    if kind == "list":
        return b"[" + b",".join(value(y, inside + 1, limit) for y in x) + b"]"
    return obj([(key(k), value(y, inside + 1, limit)) for k, y in x])


def leaf(e):
    ts = e["ts"]
    m = re.fullmatch(r"(.{19})(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", ts)
    whole = datetime.fromisoformat(m[1] + m[3].replace("Z", "+00:00")).astimezone(timezone.utc)
    stamp = whole.strftime("%Y-%m-%dT%H:%M:%S") + "." + ((m[2] or "") + "000000")[:6] + "Z"
    actor = [("id", fixed(e["actor"]["id"])), ("type", quote(e["actor"]["type"]))]
    if e["actor"].get("role"):
        actor.append(("role", fixed(e["actor"]["role"])))
    top = [("action", quote(e["action"])), ("actor", obj(actor)), ("id", quote(e["id"])),
           ("interface", quote(e["interface"])), ("log", quote(e["log"])),
           ("resource", obj([("id", fixed(e["resource"]["id"])), ("type", fixed(e["resource"]["type"]))])),
           ("result", quote(e["result"])), ("ts", quote(stamp)), ("v", b"1"),
           ("w", obj([("b", quote(e["w"]["b"])), ("id", quote(e["w"]["id"])), ("n", quote(e["w"]["n"]))]))]
    for name in ("code", "req"):
        if e.get(name):
            top.append((name, fixed(e[name])))
    if e.get("pii"):
        top.append(("pii", obj([(f, quote("c1:" + base64.b64encode(hmac.digest(
            bytes.fromhex(o["salt"]), f.encode() + b"\0" + text_of(o["value"]), "sha256")).decode())) for f, o in e["pii"].items()])))
    if not e.get("details"):
        return obj(top)
    details = value({"map": e["details"]}, 1)
    b = obj(top + [("details", details)])
    return b if len(b) <= 65535 else obj(top + [("details", trunc(value({"map": e["details"]}, 1, 10**6)))])


def writer_key(w):
    prk = hmac.digest(bytes(32), MASTER, "sha256")
    info = b"forge audit writer v1\0"
    for s in (w["id"], w["b"]):
        info += struct.pack(">I", len(s)) + s.encode()
    return hmac.digest(prk, info + b"\x01", "sha256")


BASE = {"action": "workspace.create", "actor": {"type": "user", "id": "usr_01", "role": "engineer"},
        "id": "0198c1a2-7b3c-7def-8123-456789abcdef", "interface": "api", "log": "forge.example/audit",
        "resource": {"type": "workspace", "id": "ws_01"}, "result": "success", "ts": "2026-03-01T12:34:56.123456Z",
        "req": "req_01", "w": {"id": "api-7f9c", "b": "20260301T120000Z-0011223344556677", "n": "184467"}}
SALT = bytes(range(16)).hex()


def details(*pairs):
    return {"details": [list(p) for p in pairs]}


S = lambda x: {"str": x}
CASES = {
    "typical": {"code": "BUDGET_EXCEEDED", "result": "refused", **details(("bundle", S("wsb-1")), ("cost", S("12.345600")), ("hours", {"int": "720"})),
                "pii": {"email": {"salt": SALT, "value": "ann@example.com"}, "source_ip": {"salt": "ff" * 32, "value": "192.0.2.7"},
                        "user_agent": {"salt": SALT, "value": {"hex": "4d6f7aff00"}}}},
    "least": {"actor": {"type": "anonymous", "id": "anonymous"}, "resource": {"type": "session", "id": ""}, "req": "", "result": "failed"},
    "system": {"actor": {"type": "system", "id": "system:reconcile"}, "interface": "worker", "w": {"id": "w", "b": "b", "n": "18446744073709551615"}},
    "zero sequence": {"w": {"id": "w", "b": "b", "n": "0"}},
    "time is cut, not rounded": {"ts": "2026-03-01T12:34:56.9999999Z"},
    "time in another zone": {"ts": "2026-03-01T23:59:59.5+05:45"},
    "first instant": {"ts": "1970-01-01T00:00:00Z"},
    "last instant": {"ts": "9999-12-31T23:59:59.999999999Z"},
    "scalars": details(("a", {"null": 1}), ("b", {"bool": True}), ("c", {"bool": False}), ("d", {"int": "0"}), ("e", {"int": "-1"}), ("f", S(""))),
    "integers at the edge": details(*[(n, {"int": n}) for n in ("9007199254740991", "-9007199254740991", "9007199254740992", "-9007199254740992",
                                                                "9223372036854775807", "-9223372036854775808", "18446744073709551615")]),
    "every control character": details(("s", S("".join(map(chr, range(32))) + "\"\\/\x7f<>&"))),
    "not normalised": details(("composed", S("\u00e9")), ("decomposed", S("e\u0301")), ("odd", S("\u2028\ufeff\uffff\U0001f600\ufffd"))),
    "not UTF-8": details(*[(h, S({"hex": h})) for h in ("ff", "c0af", "eda080", "f4908080", "61e282")]),
    "bytes": details(("none", {"bytes": {"hex": ""}}), ("text", {"bytes": "a"}), ("two", {"bytes": {"hex": "fbff"}})),
    "empty containers": details(("list", {"list": []}), ("map", {"map": []})),
    "names that need an escape": details(*[(k, S("x")) for k in ("", "a b", "$", "$$", "$b64", "$int", "$trunc", "$k:", "\u00e9", "\U0001f600", "\uffff",
                                                                "a\"b", "a\\b", "\n", "\x7f", {"hex": "ff"}, {"hex": "00"}, "~", "Z", "a.b")]),
    "forged markers": details(("m", {"map": [["$b64", S("YQ==")], ["$trunc", {"map": [["len", {"int": "1"}], ["sha256", S("00")]]}]]}), ("$trunc", S("x"))),
    "longest string": details(("s", S({"repeat": ["x", 4096]})), ("b", {"bytes": {"repeat": ["x", 4096]}})),
    "string one too long": details(("s", S({"repeat": ["x", 4097]})), ("b", {"bytes": {"repeat": ["x", 4097]}}), ("i", S({"repeat": [{"hex": "ff"}, 4097]})),
                                   ("e", S({"repeat": ["\n\u00e9", 2000]}))),
    "deepest": details(("d", {"nest": [4, S({"repeat": ["x", 5000]})]})),
    "one too deep": details(("d", {"nest": [5, S({"repeat": ["x", 5000]})]}), ("m", {"nest": [4, {"map": [["\u00e9", {"int": "9007199254740992"}]]}]})),
    "far too deep": details(("d", {"nest": [200, S("bottom")]})),
    "details too large": details(*[("k%02d" % i, S({"repeat": ["\u0000", 1000]})) for i in range(12)]),
    "details too large and too deep": details(("d", {"nest": [9, S("bottom")]}), *[("k%02d" % i, S({"repeat": ["\u0000", 1000]})) for i in range(12)]),
    "one long name": details(({"repeat": ["n", 70000]}, S("x"))),
    "one megabyte": details(("s", S({"repeat": ["0123456789abcdef", 65536]})), ("ok", {"bool": True})),
    "texts from outside": {"req": {"hex": "72ff00e28222"}, "code": "a\nb", "actor": {"type": "user", "id": {"hex": "eda080"}, "role": "\u00e9"},
                           "resource": {"type": "x y", "id": {"repeat": ["\u00e9", 100]}}},
    "texts too long": {"req": {"repeat": ["\u20ac", 67]}, "code": {"repeat": ["C", 201]}, "actor": {"type": "user", "id": {"repeat": [{"hex": "ff"}, 67]}, "role": {"repeat": ["r", 100000]}},
                       "resource": {"type": {"repeat": ["t", 200]}, "id": {"repeat": ["\U0001f600", 51]}}},
}
out = []
for name, change in CASES.items():
    entry = {**BASE, **change}
    b = leaf(entry)
    out.append({"name": name, "entry": entry, "leaf": b.hex(), "hash": hashlib.sha256(b"\0" + b).hexdigest(),
                "mac": hmac.digest(writer_key(entry["w"]), b, "sha256").hex()})
print("[\n" + ",\n".join(json.dumps(v) for v in out) + "\n]")
