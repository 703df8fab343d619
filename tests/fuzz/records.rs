//! Fuzzes the record reader of TLS with records of a client that holds the keys. Nothing panics; the result does not
//! depend on how the bytes are split or on freezing between the pieces; the data is a prefix of what the client has sent,
//! and all of it unless the session reports an end; an incomplete record is bounded. What the session seals meanwhile, key
//! updates included, another session with the same keys opens. Arbitrary bytes as a frozen session: `thaw` rejects them
//! or returns a session that freezes to the same bytes.
//!
//! Input: the suite, one byte (number of cuts, modulo 16), one byte per cut (the length of a piece minus one; the cuts
//! repeat), then operations of the client (see `Client::operate`). The whole input is also used as a frozen session.
#![no_main]

use callsign_tls::{End, RECORD_MAX, Session};
use libfuzzer_sys::fuzz_target;
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{self, Prk};

/// Code, length of the secret, algorithm, derivation of keys: TLS 1.3, then TLS 1.2.
const SUITES: [(u8, usize, &aead::Algorithm, Option<&hkdf::Algorithm>); 6] = [
    (1, 32, &aead::AES_128_GCM, Some(&hkdf::HKDF_SHA256)),
    (2, 48, &aead::AES_256_GCM, Some(&hkdf::HKDF_SHA384)),
    (3, 32, &aead::CHACHA20_POLY1305, Some(&hkdf::HKDF_SHA256)),
    (4, 16, &aead::AES_128_GCM, None),
    (5, 32, &aead::AES_256_GCM, None),
    (6, 32, &aead::CHACHA20_POLY1305, None),
];

fuzz_target!(|input: &[u8]| {
    if let Ok(session) = Session::thaw(input) {
        assert_eq!(session.freeze()[..], *input);
    }
    let [suite, count, rest @ ..] = input else { return };
    let (cuts, program) = rest.split_at(rest.len().min(usize::from(count % 16)));
    let suite = usize::from(suite % 6);
    let mut client = Client::new(suite);
    let mut program = program.iter().copied();
    while let Some(operation) = program.next() {
        client.operate(operation, &mut program);
    }

    let whole = receive(suite, &client.wire, std::iter::repeat(client.wire.len().max(1)), false);
    let cuts = || cuts.iter().map(|cut| usize::from(*cut) + 1).chain([1000]).cycle();
    assert_eq!(whole, receive(suite, &client.wire, cuts(), false));
    assert_eq!(whole, receive(suite, &client.wire, cuts(), true));
    let (data, end) = whole;
    assert!(client.data.starts_with(&data));
    if client.is_good {
        assert_eq!((data, end), (client.data, None));
    }
});

/// What a session makes of the client's bytes; it answers after each piece.
fn receive(
    suite: usize,
    wire: &[u8],
    mut cuts: impl Iterator<Item = usize>,
    freeze: bool,
) -> (Vec<u8>, Option<End>) {
    let mut session = Session::thaw(&frozen(suite, 1, 2)).expect("made for it");
    let mut reader = Session::thaw(&frozen(suite, 2, 1)).expect("made for it");
    let (mut data, mut rest, mut wire) = (Vec::new(), Vec::new(), wire);
    while !wire.is_empty() {
        let (piece, behind) = wire.split_at(cuts.next().expect("endless").min(wire.len()));
        wire = behind;
        let mut buffer = [&rest[..], piece].concat();
        let opened = session.open(&mut buffer);
        assert!(opened.rest.start == 0 || opened.length < opened.rest.start);
        data.extend_from_slice(&buffer[..opened.length]);
        rest = buffer[opened.rest.clone()].to_vec();
        assert!(rest.len() <= RECORD_MAX + 256);

        let mut sealed = Vec::new();
        match opened.end {
            Some(End::Violation(violation)) => session.seal_violation(violation, &mut sealed),
            Some(_) => session.seal_close(&mut sealed),
            None => assert_eq!(session.seal([&b"answer"[..]], 6, &mut sealed), Ok(6)),
        }
        let read = reader.open(&mut sealed);
        assert!(read.rest.is_empty());
        match opened.end {
            None => assert_eq!((&sealed[..read.length], read.end), (&b"answer"[..], None)),
            // What only informs the client: no_renegotiation.
            Some(_) => assert_eq!(read.length, 0),
        }
        if opened.end.is_some() {
            return (data, opened.end);
        }
        if freeze {
            session = Session::thaw(&session.freeze()).expect("frozen");
        }
    }
    (data, None)
}

/// A frozen session with these secrets.
fn frozen(suite: usize, sending: u8, receiving: u8) -> Vec<u8> {
    let (code, length, _, hkdf) = SUITES[suite];
    let mut bytes = vec![1, code, 0, 0, 0, 0, 8];
    for fill in [sending, receiving] {
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend(std::iter::repeat_n(fill, length));
        if hkdf.is_none() {
            bytes.extend_from_slice(&[fill; 12]);
        }
    }
    bytes
}

/// A client that can send any record.
struct Client {
    suite: usize,
    secret: Vec<u8>,
    key: LessSafeKey,
    iv: [u8; 12],
    counter: u64,
    wire: Vec<u8>,
    /// All data that was sent.
    data: Vec<u8>,
    /// Nothing was sent that a session may reject.
    is_good: bool,
    fruitless: usize,
    /// Records that pay for key updates.
    update_budget: u64,
}

impl Client {
    fn new(suite: usize) -> Self {
        let (_, length, algorithm, hkdf) = SUITES[suite];
        let secret = vec![2; length];
        let (key, iv) = match hkdf {
            Some(hkdf) => derive(*hkdf, algorithm, &secret),
            None => (LessSafeKey::new(UnboundKey::new(algorithm, &secret).unwrap()), [2; 12]),
        };
        let (wire, data) = (Vec::new(), Vec::new());
        Self {
            suite,
            secret,
            key,
            iv,
            counter: 0,
            wire,
            data,
            is_good: true,
            fruitless: 0,
            update_budget: 2048,
        }
    }

    fn operate(&mut self, operation: u8, program: &mut impl Iterator<Item = u8>) {
        let mut next = || program.next().unwrap_or(0);
        match operation % 8 {
            0 | 1 => {
                let length = usize::from(next()) * if operation & 0x80 == 0 { 1 } else { 70 };
                let data = vec![operation ^ length as u8; length];
                let padding = usize::from(operation >> 5 & 3) * 9;
                self.is_good &= length + padding <= 1 << 14;
                self.record(23, &data, padding);
                self.data.extend_from_slice(&data);
                self.fruitless = if length == 0 { self.fruitless + 1 } else { 0 };
            }
            2 => {
                self.record(21, &[next(), next()], 0);
                self.is_good = false;
            }
            3 => {
                let bytes: Vec<u8> = (0..operation >> 3 & 7).map(|_| next()).collect();
                self.record(22, &bytes, 0);
                self.is_good = false;
            }
            4 => {
                let requested = next() & 1;
                let cut = usize::from(operation >> 3) % 5;
                let update = [24, 0, 0, 1, requested];
                if cut > 0 {
                    self.record(22, &update[..cut], 0);
                    self.fruitless += 1;
                }
                self.record(22, &update[cut..], 0);
                self.fruitless += 1;
                match SUITES[self.suite] {
                    (_, _, algorithm, Some(hkdf)) => {
                        let mut secret = vec![0; self.secret.len()];
                        expand_label(*hkdf, &self.secret, b"traffic upd", &mut secret);
                        (self.key, self.iv) = derive(*hkdf, algorithm, &secret);
                        self.secret = secret;
                        let budget = (self.update_budget + self.counter).min(2048);
                        self.is_good &= budget >= 64;
                        self.update_budget = budget.saturating_sub(64);
                        self.counter = 0;
                    }
                    _ => self.is_good = false,
                }
            }
            5 => {
                let count = usize::from(operation >> 3);
                self.wire.extend((0..count).map(|_| next()));
                self.is_good &= count == 0;
            }
            6 => {
                let at = usize::from(next()) % self.wire.len().max(1);
                if let Some(byte) = self.wire.iter_mut().rev().nth(at) {
                    *byte ^= operation | 1;
                    self.is_good = false;
                }
            }
            _ => {
                let bytes = vec![next(); usize::from(next())];
                let kind = next();
                self.record(kind, &bytes, 0);
                // In TLS 1.3, zeros at the end are padding, and the byte before them is the type.
                let inner = [&bytes[..], &[kind]].concat();
                let is_padded = SUITES[self.suite].3.is_some();
                let end = inner.iter().rposition(|byte| *byte != 0 || !is_padded);
                if let Some(end) = end
                    && inner[end] == 23
                {
                    self.data.extend_from_slice(&inner[..end]);
                }
                self.is_good = false;
            }
        }
        self.is_good &= self.fruitless <= 32;
    }

    /// Appends a record, RFC 8446 §5.2 or RFC 5246 §6.2.3.3.
    fn record(&mut self, kind: u8, content: &[u8], padding: usize) {
        let (_, _, algorithm, hkdf) = SUITES[self.suite];
        let mut nonce = self.iv;
        nonce.iter_mut().skip(4).zip(self.counter.to_be_bytes()).for_each(|(byte, part)| *byte ^= part);
        let mut bytes = content.to_vec();
        let (mut header, mut explicit, mut aad) = ([23, 3, 3, 0, 0], &[][..], Vec::new());
        let shown = nonce;
        if hkdf.is_some() {
            bytes.push(kind);
            bytes.resize(bytes.len() + padding, 0);
        } else {
            header[0] = kind;
            if algorithm != &aead::CHACHA20_POLY1305 {
                explicit = &shown[4..];
            }
            aad.extend_from_slice(&self.counter.to_be_bytes());
            aad.extend_from_slice(&header[..3]);
            aad.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        }
        let length = (explicit.len() + bytes.len() + 16) as u16;
        header[3..].copy_from_slice(&length.to_be_bytes());
        let aad = if hkdf.is_some() { header.to_vec() } else { aad };
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut bytes).unwrap();
        self.counter += 1;
        self.wire.extend_from_slice(&header);
        self.wire.extend_from_slice(explicit);
        self.wire.extend_from_slice(&bytes);
    }
}

fn derive(
    hkdf: hkdf::Algorithm,
    algorithm: &'static aead::Algorithm,
    secret: &[u8],
) -> (LessSafeKey, [u8; 12]) {
    let (mut key, mut iv) = (vec![0; algorithm.key_len()], [0; 12]);
    expand_label(hkdf, secret, b"key", &mut key);
    expand_label(hkdf, secret, b"iv", &mut iv);
    (LessSafeKey::new(UnboundKey::new(algorithm, &key).unwrap()), iv)
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// RFC 8446 §7.1.
fn expand_label(hkdf: hkdf::Algorithm, secret: &[u8], label: &[u8], out: &mut [u8]) {
    let length = (out.len() as u16).to_be_bytes();
    let info = [&length[..], &[6 + label.len() as u8], b"tls13 ", label, &[0]];
    Prk::new_less_safe(hkdf, secret).expand(&info, Length(out.len())).unwrap().fill(out).unwrap();
}
