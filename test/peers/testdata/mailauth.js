// mailauth as a peer: reads {"do", "message", "zone", …} as JSON from standard input and writes what it found, or the message it made.
const { authenticate, sealMessage } = require("mailauth");
const { dkimSign } = require("mailauth/lib/dkim/sign");

const ask = JSON.parse(require("fs").readFileSync(0));
const message = Buffer.from(ask.message, "base64");

async function resolver(name, type) {
	const text = ask.zone[name.toLowerCase()];
	if (type !== "TXT" || !text) {
		throw Object.assign(new Error("no such name"), { code: "ENOTFOUND" });
	}
	return [[text]];
}

async function main() {
	const key = { signingDomain: ask.domain, selector: ask.selector, privateKey: ask.key };
	switch (ask.do) {
	case "verify": {
		const r = await authenticate(message, { ip: "192.0.2.1", helo: "x.test", sender: "a@x.test", resolver });
		return { dkim: r.dkim.results.map((s) => s.status.result), arc: r.arc.status.result };
	}
	case "sign": {
		const r = await dkimSign(message, { canonicalization: "relaxed/relaxed", signatureData: [key] });
		if (r.errors.length) throw r.errors[0].err;
		return { message: Buffer.from(r.signatures + ask.raw).toString("base64") };
	}
	case "seal": {
		const r = await authenticate(message, { ip: "192.0.2.1", helo: "x.test", sender: "a@x.test", resolver, seal: key });
		return { message: Buffer.concat([Buffer.from(r.headers), message]).toString("base64") };
	}
	}
}

main().then((r) => console.log(JSON.stringify(r)), (e) => { console.error(e); process.exit(1); });
