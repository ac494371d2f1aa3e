//! What a client sends on a WebSocket.

use crate::frames::{Frame, Opcode};
use crate::scenario::Messages;

/// A client masks what it sends. The key is the same each time: nobody here is to be protected by it, and what is sent
/// stays the same bytes.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Normal closure.
///
/// SOURCE: RFC 6455, section 7.4.1.
const NORMAL: u16 = 1000;

/// Makes the frames of a client with their times from the 101, in nanoseconds: the messages, then a Close with 1000.
pub(super) fn frames(messages: &Messages) -> Vec<(u64, Vec<u8>)> {
    let every_ns = messages.every.ns();
    let at_ns = |index: u32| every_ns.saturating_mul(u64::from(index).saturating_add(1));
    let mut frames: Vec<(u64, Vec<u8>)> = (0..messages.count)
        .map(|index| {
            let message = Frame::message(Opcode::Text, text(index, messages.bytes));
            (at_ns(index), message.encode(Some(MASK)))
        })
        .collect();
    let close = Frame::close(NORMAL).encode(Some(MASK));
    frames.push((at_ns(messages.count), close));
    frames
}

/// Makes the text of a message: its number, then dots up to its length.
fn text(index: u32, bytes: u32) -> Vec<u8> {
    let mut text = format!("message {}", u64::from(index) + 1).into_bytes();
    text.resize(usize::try_from(bytes).unwrap_or(usize::MAX), b'.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::FrameReader;
    use crate::units::Span;

    #[test]
    fn messages_come_at_their_distance_and_a_close_after_them() {
        let frames = frames(&Messages {
            count: 2,
            every: Span::ms(10),
            bytes: 12,
        });
        let times: Vec<u64> = frames.iter().map(|(at_ns, _)| *at_ns).collect();
        assert_eq!(times, [10_000_000, 20_000_000, 30_000_000]);
        assert_eq!(frames[0].1[..2], [0x81, 0x8c], "text, masked, 12 bytes");
        let mut reader = FrameReader::default();
        for (_, bytes) in &frames {
            reader.push(bytes);
        }
        let mut read = Vec::new();
        while let Some(frame) = reader.next_frame() {
            read.push((frame.opcode, frame.close_code(), frame.payload));
        }
        assert_eq!(
            read,
            [
                (Opcode::Text, None, b"message 1...".to_vec()),
                (Opcode::Text, None, b"message 2...".to_vec()),
                (Opcode::Close, Some(1000), vec![0x03, 0xe8]),
            ]
        );
    }
}
