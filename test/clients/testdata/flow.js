// Imapflow against a server: node flow.js tour|sync PORT USER PASSWORD CA [STATE]. NODE_PATH says where imapflow is.
'use strict';
const fs = require('fs');
const { ImapFlow } = require('imapflow');
const [what, port, user, pass, ca, stateFile] = process.argv.slice(2);

const connect = async extra => {
    const client = new ImapFlow({
        host: 'localhost', port: Number(port), secure: !!ca, doSTARTTLS: false, auth: { user, pass }, logger: false, qresync: true,
        tls: ca ? { ca: fs.readFileSync(ca) } : {}, ...extra
    });
    client.on('error', err => { throw err; });
    await client.connect();
    return client;
};

const check = (ok, text) => { if (!ok) throw new Error(text); };

// event waits for the event that satisfies; made before what causes it.
const event = (client, name, satisfies) => new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('no event ' + name)), 10000);
    client.on(name, e => { if (satisfies(e)) { clearTimeout(late); resolve(e); } });
});

const letter = n => `From: a@elsewhere.test\r\nTo: ${user}\r\nSubject: flow ${n}\r\nMessage-ID: <flow${n}@elsewhere.test>\r\n\r\nbody ${n}\r\n`;

// tour: two clients on one mailbox; what one does the other one hears in IDLE, and by QRESYNC when it comes back.
const tour = async () => {
    const a = await connect(), b = await connect();
    check(a.enabled.has('QRESYNC'), 'QRESYNC is not enabled');
    const uses = (await a.list()).map(m => m.specialUse).filter(u => u);
    for (const use of ['\\Drafts', '\\Sent', '\\Trash', '\\Junk', '\\Archive', '\\Inbox'])
        check(uses.includes(use), `no mailbox is ${use}: ${uses}`);
    await a.mailboxCreate('Flow');
    check((await a.list()).some(m => m.path === 'Flow'), 'Flow is not in LIST');
    await a.mailboxOpen('Flow');
    const opened = await b.mailboxOpen('Flow');

    let heard = event(b, 'exists', e => e.path === 'Flow' && e.count === 1);
    b.idle().catch(() => {});
    const put = await a.append('Flow', letter(1), ['\\Flagged', '$Work']);
    check(put.uid > 0 && put.uidValidity === opened.uidValidity, 'APPENDUID is wrong');
    await heard;

    const one = await a.fetchOne(put.uid, { flags: true, envelope: true, bodyStructure: true, source: true, size: true, threadId: true }, { uid: true });
    check(one.envelope.subject === 'flow 1' && one.source.toString() === letter(1) && one.size === letter(1).length, 'FETCH gives something else');
    check(one.flags.has('\\Flagged') && one.flags.has('$Work'), 'a flag of APPEND is missing');

    heard = event(b, 'flags', e => e.flags.has('\\Seen') && e.flags.has('$Work'));
    b.idle().catch(() => {});
    await a.messageFlagsAdd(put.uid, ['\\Seen'], { uid: true });
    check((await heard).uid === put.uid || (await heard).seq === 1, 'IDLE says another message');

    await b.mailboxClose();
    const known = a.mailbox.highestModseq || one.modseq;
    const more = await a.append('Flow', letter(2));
    await a.messageFlagsRemove(put.uid, ['\\Flagged'], { uid: true });
    await a.messageDelete(more.uid, { uid: true });
    const last = await a.append('Flow', letter(3));
    const flags = [], gone = [];
    b.on('flags', e => flags.push(e)); b.on('expunge', e => gone.push(e));
    const again = await b.mailboxOpen('Flow', { changedSince: opened.highestModseq, uidValidity: opened.uidValidity });
    check(again.qresync, 'SELECT with QRESYNC was not taken as such');
    check(again.exists === 2 && again.uidNext === last.uid + 1, `EXISTS ${again.exists}, UIDNEXT ${again.uidNext}`);
    check(flags.some(e => e.uid === put.uid && e.flags.has('\\Seen') && !e.flags.has('\\Flagged')), 'QRESYNC does not give the changed flags');
    check(gone.every(e => e.uid === more.uid), 'QRESYNC expunges something else');

    heard = event(b, 'expunge', e => e.uid === put.uid && e.vanished);
    b.idle().catch(() => {});
    await a.messageMove(put.uid, 'Archive', { uid: true });
    await heard;
    check((await a.search({ header: { subject: 'flow 3' } }, { uid: true })).join() === String(last.uid), 'SEARCH finds something else');
    await a.mailboxClose();
    await a.mailboxDelete('Flow');
    await a.logout(); await b.logout();
    return { ok: true };
};

// sync is what a program does that keeps a copy: the state of the last time, what changed since, the bodies it does not have.
const sync = async () => {
    const client = await connect({ disableCompression: true });
    const state = fs.existsSync(stateFile) ? JSON.parse(fs.readFileSync(stateFile)) : {};
    const said = { boxes: {}, bodies: 0, subscribed: [], uses: {} };
    for (const m of await client.list()) {
        if (m.flags.has('\\Noselect') || m.flags.has('\\NonExistent')) continue;
        if (m.subscribed) said.subscribed.push(m.path);
        if (m.specialUse) said.uses[m.specialUse] = m.path;
        let known = state[m.path];
        const gone = e => { if (known) delete known.flags[e.uid]; };
        const changed = e => { if (known && e.uid) known.flags[e.uid] = [...e.flags].sort(); };
        client.on('expunge', gone); client.on('flags', changed);
        const box = await client.mailboxOpen(m.path, known ? { changedSince: BigInt(known.modseq), uidValidity: BigInt(known.validity) } : {});
        if (known && known.validity !== String(box.uidValidity)) known = undefined;
        if (!known) known = { flags: {}, next: 1 };
        if (box.exists) {
            // the list of UIDs and flags is for what the server did not say, new messages get their bodies
            for await (const f of client.fetch('1:*', { uid: true, flags: true })) known.flags[f.uid] = [...f.flags].sort();
            if (box.uidNext > known.next)
                for await (const f of client.fetch(`${known.next}:*`, { uid: true, source: true }, { uid: true }))
                    if (f.uid >= known.next) said.bodies++;
        }
        client.off('expunge', gone); client.off('flags', changed);
        state[m.path] = { validity: String(box.uidValidity), modseq: String(box.highestModseq || 1), next: box.uidNext, flags: known.flags };
        said.boxes[m.path] = { validity: String(box.uidValidity), next: box.uidNext, flags: known.flags, condstore: !!box.highestModseq, qresync: !!box.qresync };
    }
    fs.writeFileSync(stateFile, JSON.stringify(state));
    await client.logout();
    return said;
};

({ tour, sync })[what]().then(said => { console.log(JSON.stringify(said)); process.exit(0); }, err => { console.error(err.stack, err.response || ''); process.exit(1); });
