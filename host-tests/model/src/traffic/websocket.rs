//! What a client sends on a WebSocket.
//!
//! SOURCE: RFC 6455, section 5.2 (framing), 5.3 (masking), 5.5.1 (Close).

use crate::scenario::Messages;

/// A client masks what it sends. The key is the same each time: nobody here is to be protected by it, and what is sent
/// stays the same bytes.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;

/// Makes the frames of a client with their times from the 101, in nanoseconds: the messages, then a Close with 1000.
pub(super) fn frames(messages: &Messages) -> Vec<(u64, Vec<u8>)> {
    let every_ns = messages.every.ns();
    let at_ns = |index: u32| every_ns.saturating_mul(u64::from(index).saturating_add(1));
    let mut frames: Vec<(u64, Vec<u8>)> = (0..messages.count)
        .map(|index| (at_ns(index), masked(TEXT, &text(index, messages.bytes))))
        .collect();
    frames.push((
        at_ns(messages.count),
        masked(CLOSE, &1000_u16.to_be_bytes()),
    ));
    frames
}

/// Makes the text of a message: its number, then dots up to its length.
fn text(index: u32, bytes: u32) -> Vec<u8> {
    let mut text = format!("message {}", u64::from(index) + 1).into_bytes();
    text.resize(usize::try_from(bytes).unwrap_or(usize::MAX), b'.');
    text
}

fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    // FIN: no message has a second frame. The upper bit of the length says that it is masked.
    let mut frame = vec![0x80 | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => frame.push(0x80 | length),
        (_, Ok(length)) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
            frame.push(0x80 | 127);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    fn unmasked(frame: &[u8], header: usize) -> Vec<u8> {
        let mask = &frame[header..header + 4];
        frame[header + 4..]
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect()
    }

    #[test]
    fn messages_come_at_their_distance_and_a_close_after_them() {
        let frames = frames(&Messages {
            count: 2,
            every: Span::ms(10),
            bytes: 12,
        });
        let times: Vec<u64> = frames.iter().map(|(at_ns, _)| *at_ns).collect();
        assert_eq!(times, [10_000_000, 20_000_000, 30_000_000]);
        assert_eq!(frames[0].1[..2], [0x81, 0x8c]);
        assert_eq!(unmasked(&frames[1].1, 2), b"message 2...");
        assert_eq!(frames[2].1[..2], [0x88, 0x82]);
        assert_eq!(unmasked(&frames[2].1, 2), [0x03, 0xe8]);
    }

    #[test]
    fn lengths_take_the_form_that_they_need() {
        for (bytes, second, header) in [
            (0, 0x80, 2),
            (125, 0xfd, 2),
            (126, 0xfe, 4),
            (65_535, 0xfe, 4),
            (65_536, 0xff, 10),
        ] {
            let frame = masked(TEXT, &text(0, bytes));
            assert_eq!(frame[1], second, "{bytes}");
            assert_eq!(
                unmasked(&frame, header).len(),
                usize::try_from(bytes).unwrap()
            );
        }
    }
}
