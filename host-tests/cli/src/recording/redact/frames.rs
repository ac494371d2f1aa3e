//! Fills the payload of WebSocket frames and leaves the frames as they are.

use super::FILLER;

/// Where in the frames of one direction the bytes are. A piece may end anywhere, also inside of a frame's header.
#[derive(Debug)]
pub(super) struct Framing {
    is_masked: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Inside of a header, of which these bytes were seen.
    Header(Vec<u8>),
    /// Inside of a payload.
    Payload {
        left: u64,
        offset: usize,
        mask: [u8; 4],
        /// How much at the beginning is no secret: the code of a Close.
        keep: usize,
    },
    /// What comes is no frame, or where the next one begins isn't known: all of it is filled.
    Lost,
}

impl Framing {
    /// The client's frames are masked.
    pub(super) const fn of_client() -> Self {
        Self {
            is_masked: true,
            state: State::Header(Vec::new()),
        }
    }

    /// The upstream's are not.
    pub(super) const fn of_upstream() -> Self {
        Self {
            is_masked: false,
            state: State::Header(Vec::new()),
        }
    }

    /// Takes note that bytes are missing behind those that came.
    pub(super) fn lose(&mut self) {
        self.state = State::Lost;
    }

    /// Fills the payloads in the next bytes of this direction.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            match &mut self.state {
                State::Header(header) => {
                    header.push(*byte);
                    match frame(header, self.is_masked) {
                        Header::Incomplete => {}
                        Header::Complete {
                            length,
                            mask,
                            is_close,
                        } => self.begin(length, mask, is_close),
                        Header::Wrong => {
                            self.state = State::Lost;
                            *byte = FILLER;
                        }
                    }
                }
                State::Payload {
                    left,
                    offset,
                    mask,
                    keep,
                } => {
                    if *offset >= *keep {
                        *byte = FILLER ^ mask.get(*offset % 4).copied().unwrap_or_default();
                    }
                    *offset += 1;
                    *left -= 1;
                    if *left == 0 {
                        self.state = State::Header(Vec::new());
                    }
                }
                State::Lost => *byte = FILLER,
            }
        }
    }

    fn begin(&mut self, length: u64, mask: [u8; 4], is_close: bool) {
        self.state = if length == 0 {
            State::Header(Vec::new())
        } else {
            State::Payload {
                left: length,
                offset: 0,
                mask,
                keep: if is_close { 2 } else { 0 },
            }
        };
    }
}

enum Header {
    Incomplete,
    Complete {
        length: u64,
        mask: [u8; 4],
        is_close: bool,
    },
    Wrong,
}

/// Reads the header of a frame, RFC 6455, section 5.2.
fn frame(bytes: &[u8], is_masked: bool) -> Header {
    let &[first, ref rest @ ..] = bytes else {
        return Header::Incomplete;
    };
    let opcode = first & 0x0f;
    // The first reserved bit says that the message is compressed; the other two have no meaning.
    if first & 0x30 != 0 || !matches!(opcode, 0..=2 | 8..=10) {
        return Header::Wrong;
    }
    let &[second, ref rest @ ..] = rest else {
        return Header::Incomplete;
    };
    let short = second & 0x7f;
    if (second & 0x80 != 0) != is_masked || opcode >= 8 && (short > 125 || first & 0x80 == 0) {
        return Header::Wrong;
    }
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((length, rest)) = rest.split_at_checked(extended) else {
        return Header::Incomplete;
    };
    let length = match length {
        [] => u64::from(short),
        bytes => bytes
            .iter()
            .fold(0, |length, &byte| length << 8 | u64::from(byte)),
    };
    if length >> 63 != 0 {
        return Header::Wrong;
    }
    let mask = if is_masked {
        let Some(mask) = rest.first_chunk::<4>() else {
            return Header::Incomplete;
        };
        *mask
    } else {
        [0; 4]
    };
    Header::Complete {
        length,
        mask,
        is_close: opcode == 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_filled_and_frames_stay_wherever_a_piece_ends() {
        let mut client = vec![0x81, 0x85, 1, 2, 3, 4];
        client.extend(
            b"hello"
                .iter()
                .zip([1, 2, 3, 4].iter().cycle())
                .map(|(a, b)| a ^ b),
        );
        client.extend([0x88, 0x84, 0, 0, 0, 0, 0x03, 0xe8, b'h', b'i']);
        let mut expected = vec![0x81, 0x85, 1, 2, 3, 4];
        expected.extend(
            b"xxxxx"
                .iter()
                .zip([1, 2, 3, 4].iter().cycle())
                .map(|(a, b)| a ^ b),
        );
        expected.extend([0x88, 0x84, 0, 0, 0, 0, 0x03, 0xe8, b'x', b'x']);
        for cut in 0..=client.len() {
            let mut bytes = client.clone();
            let mut framing = Framing::of_client();
            let (first, second) = bytes.split_at_mut(cut);
            framing.fill(first);
            framing.fill(second);
            assert_eq!(bytes, expected, "cut at {cut}");
        }
    }

    #[test]
    fn long_frames_have_long_headers() {
        let mut bytes = vec![0x82, 126, 0x01, 0x00];
        bytes.extend([7; 256]);
        bytes.extend([0x82, 127, 0, 0, 0, 0, 0, 0, 0, 2, 7, 7, 0x89, 0]);
        let mut framing = Framing::of_upstream();
        framing.fill(&mut bytes);
        assert_eq!(bytes[..4], [0x82, 126, 0x01, 0x00]);
        assert!(bytes[4..260].iter().all(|&byte| byte == b'x'));
        assert_eq!(
            bytes[260..],
            [0x82, 127, 0, 0, 0, 0, 0, 0, 0, 2, b'x', b'x', 0x89, 0]
        );
    }

    #[test]
    fn what_is_no_frame_is_filled_to_its_end() {
        let mut bytes = *b"\x81\x02hiGET / HTTP/1.1";
        let mut framing = Framing::of_upstream();
        framing.fill(&mut bytes);
        assert_eq!(&bytes[..4], b"\x81\x02xx");
        assert!(bytes[4..].iter().all(|&byte| byte == b'x'), "{bytes:?}");
    }
}
