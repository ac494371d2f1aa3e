//! Makes frames of WebSocket messages: the bytes that a filter sees, which a HAR doesn't hold.
//!
//! Model: RFC 6455, section 5.2: one frame for each message, without extensions; the client's are masked.
//! Differs: a browser's masks are random and not in the HAR. These are made of the stream's number and the message's, so that
//! the same file always gives the same bytes.

/// The bit that says that a frame is the last of its message.
const FIN: u8 = 0x80;
/// The bit that says that the payload is masked.
const MASKED: u8 = 0x80;

/// Makes a frame; with a mask for what the client sends.
pub(super) fn frame(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(FIN | opcode);
    let masked = if mask.is_some() { MASKED } else { 0 };
    let length = payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => frame.push(masked | length),
        (_, Ok(length)) => {
            frame.push(masked | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(masked | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        frame.extend_from_slice(&mask);
        let masked = payload.iter().zip(mask.iter().cycle());
        frame.extend(masked.map(|(byte, key)| byte ^ key));
    } else {
        frame.extend_from_slice(payload);
    }
    frame
}

/// Returns the mask of a message.
pub(super) fn mask(stream: u64, message: u64) -> [u8; 4] {
    let mixed = crate::replay::mix(stream ^ crate::replay::mix(message));
    let [first, second, third, fourth, ..] = mixed.to_be_bytes();
    [first, second, third, fourth]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_examples_in_the_rfc() {
        // RFC 6455, section 5.7.
        assert_eq!(
            frame(1, b"Hello", None),
            [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]
        );
        assert_eq!(
            frame(1, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d])),
            [
                0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
            ]
        );
        assert_eq!(frame(2, &[0; 256], None)[..4], [0x82, 0x7e, 0x01, 0x00]);
        assert_eq!(
            frame(2, &[0; 65536], None)[..10],
            [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]
        );
    }

    #[test]
    fn lengths_change_their_form_where_the_rfc_says() {
        for (length, header) in [(125, 2), (126, 4), (65535, 4), (65536, 10)] {
            assert_eq!(frame(2, &vec![0; length], None).len(), length + header);
        }
    }
}
