# dkimpy as a peer: reads {"do", "message", "zone", "key", ...} as JSON from standard input and writes what it found as JSON.
import base64, json, sys
import dkim

ask = json.load(sys.stdin)
message = base64.b64decode(ask["message"])
zone = ask["zone"]


def txt(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    text = zone.get(name.rstrip("."))
    return text.encode() if text else None


if ask["do"] == "verify":
    d = dkim.DKIM(message)
    count = sum(1 for name, _ in d.headers if name.lower() == b"dkim-signature")
    found = []
    for i in range(count):
        try:
            found.append(d.verify(i, dnsfunc=txt))
        except dkim.DKIMException as e:
            found.append(str(e))
    cv, results, why = dkim.ARC(message).verify(dnsfunc=txt)
    print(json.dumps({"dkim": found, "arc": cv.decode() if cv else "none", "why": why}))
elif ask["do"] == "sign":
    d = dkim.DKIM(message)
    kind = ask["kind"].encode()
    header = d.sign(b"dk", b"example.org", ask["key"].encode(), signature_algorithm=kind,
                    canonicalize=(ask["head"].encode(), ask["body"].encode()))
    print(json.dumps({"message": base64.b64encode(header + message).decode()}))
elif ask["do"] == "seal":
    lines = dkim.ARC(message).sign(b"dk", b"example.org", ask["key"].encode(), ask["host"].encode())
    print(json.dumps({"message": base64.b64encode(b"".join(lines) + message).decode()}))
