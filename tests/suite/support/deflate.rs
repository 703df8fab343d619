//! A client with permessage-deflate (RFC 7692), as others implement it: each direction has a stream of zlib that is never
//! reset, or is reset for each message where that was agreed on.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::{Host, Raw};

/// The bit RSV1 of a frame's first byte.
pub const RSV1: u8 = 0x40;

const FLUSH_END: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// An upgraded client with compression.
pub struct Deflating {
    pub raw: Raw,
    /// What the server has agreed to, without the name of the extension.
    pub agreed: String,
    compress: Compress,
    decompress: Decompress,
}

impl Deflating {
    /// Upgrades with this offer, which must be accepted.
    pub fn open(host: &Host, path: &str, offer: &str) -> Self {
        let mut raw = host.connect();
        let answer = raw.handshake(path, &[("Sec-WebSocket-Extensions", offer)]);
        assert_eq!(answer.status, 101);
        let agreed =
            answer.header("sec-websocket-extensions").and_then(|it| it.strip_prefix("permessage-deflate"));
        let agreed = agreed.unwrap_or_else(|| panic!("no compression: {answer:?}")).to_owned();
        let bits = |name: &str| {
            let value = agreed.split("; ").find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
            value.map_or(15, |bits| bits.parse().expect("a number"))
        };
        Self {
            compress: Compress::new_with_window_bits(
                Compression::new(6),
                false,
                bits("client_max_window_bits"),
            ),
            decompress: Decompress::new_with_window_bits(false, bits("server_max_window_bits")),
            raw,
            agreed,
        }
    }

    /// The payload of a compressed message.
    pub fn compress(&mut self, message: &[u8]) -> Vec<u8> {
        if self.agreed.contains("client_no_context_takeover") {
            self.compress.reset();
        }
        let mut output = Vec::with_capacity(message.len() + message.len() / 8 + 64);
        self.compress.compress_vec(message, &mut output, FlushCompress::Sync).expect("zlib compresses it");
        output.strip_suffix(&FLUSH_END).expect("it was flushed").to_vec()
    }

    /// Sends a compressed message. `first` has FIN and the opcode.
    pub fn send(&mut self, first: u8, message: &[u8]) {
        let payload = self.compress(message);
        self.raw.send_frame(first | RSV1, &payload);
    }

    /// Reads the next message: its first byte without RSV1, its content, and the length of what was sent.
    pub fn read(&mut self) -> (u8, Vec<u8>, usize) {
        let (first, payload) = self.raw.read_frame();
        let length = payload.len();
        if first & RSV1 == 0 {
            return (first, payload, length);
        }
        assert!(first & 0x0f <= 2, "no control frame is compressed: {first:x}");
        if self.agreed.contains("server_no_context_takeover") {
            self.decompress = Decompress::new_with_window_bits(false, 15);
        }
        let input = [&payload[..], &FLUSH_END].concat();
        let (before, mut output) = (self.decompress.total_in(), Vec::new());
        loop {
            output.reserve(64 << 10);
            let used = (self.decompress.total_in() - before) as usize;
            self.decompress
                .decompress_vec(&input[used..], &mut output, FlushDecompress::Sync)
                .expect("the message is DEFLATE");
            let used = (self.decompress.total_in() - before) as usize;
            if used == input.len() && output.len() < output.capacity() {
                return (first & !RSV1, output, length);
            }
        }
    }

    /// Sends a compressed message, and reads the answer: its content, and the length of what was sent.
    pub fn ask(&mut self, first: u8, message: &[u8]) -> (Vec<u8>, usize) {
        self.send(first, message);
        let (answered, content, length) = self.read();
        assert_eq!(answered, first);
        (content, length)
    }
}
