//! Frames of WebSockets, as far as clients and endpoints of a scenario need them (RFC 6455, section 5.2).

/// Kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A further part of a message.
    Continuation,
    /// Text.
    Text,
    /// Bytes.
    Binary,
    /// Close.
    Close,
    /// Ping.
    Ping,
    /// Pong.
    Pong,
}

impl Opcode {
    const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    const fn number(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its first byte's upper half: whether it is a message's last, and what extensions say.
    pub flags: u8,
    /// What it is.
    pub opcode: Opcode,
    /// Its payload, without the mask.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Makes a message of one frame.
    #[must_use]
    pub const fn message(opcode: Opcode, payload: Vec<u8>) -> Self {
        Self {
            flags: 0x80,
            opcode,
            payload,
        }
    }

    /// Makes a Close with a code.
    #[must_use]
    pub fn close(code: u16) -> Self {
        Self::message(Opcode::Close, code.to_be_bytes().to_vec())
    }

    /// Returns the code of a Close; 1005 if it has none.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        if self.opcode != Opcode::Close {
            return None;
        }
        match self.payload.as_slice() {
            [high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
            _ => Some(1005),
        }
    }

    /// Whether a message ends with it.
    #[must_use]
    pub const fn ends_message(&self) -> bool {
        self.flags & 0x80 != 0
            && matches!(
                self.opcode,
                Opcode::Continuation | Opcode::Text | Opcode::Binary
            )
    }

    /// Returns its bytes; a client's have a mask.
    #[must_use]
    pub fn encode(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.payload.len().saturating_add(14));
        bytes.push((self.flags & 0xf0) | self.opcode.number());
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let length = self.payload.len();
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(length), _) if length < 126 => bytes.push(masked | length),
            (_, Ok(length)) => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        let Some(mask) = mask else {
            bytes.extend_from_slice(&self.payload);
            return bytes;
        };
        bytes.extend_from_slice(&mask);
        let masked = self.payload.iter().zip(mask.iter().cycle());
        bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
        bytes
    }
}

/// The largest payload that is kept. A frame with a larger one ends the reading.
const PAYLOAD_MAX: u64 = 64 << 20;

/// Takes the bytes of one direction as they come and gives whole frames.
#[derive(Debug, Clone, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    is_lost: bool,
}

impl FrameReader {
    /// Takes bytes. After bytes that are no frame nothing more comes out.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.is_lost {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Returns the next whole frame.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let &[first, second, ..] = self.bytes.as_slice() else {
            return None;
        };
        let Some(opcode) = Opcode::of(first & 0x0f) else {
            self.lose();
            return None;
        };
        let (length, header): (u64, usize) = match second & 0x7f {
            126 => {
                let bytes = self.bytes.get(2..4)?;
                let length = bytes
                    .iter()
                    .fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
                (length, 4)
            }
            127 => {
                let bytes = self.bytes.get(2..10)?;
                let length = bytes
                    .iter()
                    .fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
                (length, 10)
            }
            short => (u64::from(short), 2),
        };
        if length > PAYLOAD_MAX {
            self.lose();
            return None;
        }
        let is_masked = second & 0x80 != 0;
        let begin = header + if is_masked { 4 } else { 0 };
        let end = begin.checked_add(usize::try_from(length).ok()?)?;
        let mut payload = self.bytes.get(begin..end)?.to_vec();
        if is_masked {
            let mask = self.bytes.get(header..begin)?;
            for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= mask;
            }
        }
        self.bytes.drain(..end);
        Some(Frame {
            flags: first & 0xf0,
            opcode,
            payload,
        })
    }

    fn lose(&mut self) {
        self.is_lost = true;
        self.bytes = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_written_as_the_standard_has_them() {
        // SOURCE: RFC 6455, section 5.7.
        let hello = Frame::message(Opcode::Text, b"Hello".to_vec());
        assert_eq!(hello.encode(None), b"\x81\x05Hello");
        assert_eq!(
            hello.encode(Some([0x37, 0xfa, 0x21, 0x3d])),
            [
                0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
            ]
        );
        assert_eq!(Frame::close(1012).encode(None), [0x88, 2, 0x03, 0xf4]);
        assert_eq!(
            Frame::message(Opcode::Close, Vec::new()).close_code(),
            Some(1005)
        );
    }

    #[test]
    fn nonsense_and_giants_end_the_reading() {
        for bytes in [&[0x83, 0][..], &[0x82, 127, 0, 0, 0, 0xff, 0, 0, 0, 0]] {
            let mut reader = FrameReader::default();
            reader.push(bytes);
            assert_eq!(reader.next_frame(), None);
            reader.push(&Frame::close(1000).encode(None));
            assert_eq!(reader.next_frame(), None);
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5),
            mask in prop::option::of(any::<[u8; 4]>()),
            cut in 1_usize..40,
        ) {
            let frames: Vec<Frame> = payloads
                .into_iter()
                .map(|payload| Frame::message(Opcode::Binary, payload))
                .collect();
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode(mask)).collect();
            let mut reader = FrameReader::default();
            let mut read = Vec::new();
            for piece in bytes.chunks(cut) {
                reader.push(piece);
                while let Some(frame) = reader.next_frame() {
                    read.push(frame);
                }
            }
            prop_assert_eq!(read, frames);
        }
    }

    #[test]
    fn long_payloads_have_long_lengths() {
        for length in [125, 126, 65_535, 65_536] {
            let frame = Frame::message(Opcode::Binary, vec![7; length]);
            let mut reader = FrameReader::default();
            reader.push(&frame.encode(Some([1, 2, 3, 4])));
            assert_eq!(reader.next_frame(), Some(frame), "{length}");
        }
    }
}
