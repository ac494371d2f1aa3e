//! A client's end of a WebSocket.

use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tidegate_model::frames::{Frame, FrameReader};
use tidegate_model::report::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::time::Instant;

/// How long a client that has said all waits for the last answers. One that closes waits for the answer to that instead.
const LINGER: Duration = Duration::from_millis(250);

/// Sends frames at their times, and counts what comes, until both sides have closed or the connection ends.
pub(super) async fn speak(opened: Upgraded, frames: &[(u64, Vec<u8>)]) -> Socket {
    let mut socket = Socket::default();
    let (mut reader, mut writer) = split(TokioIo::new(opened));
    let begun = Instant::now();
    let mut ours = FrameReader::default();
    let mut theirs = FrameReader::default();
    let mut rest = frames.iter();
    let mut next = rest.next();
    let mut closed = false;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let due = async {
            match next {
                Some((at_ns, _)) => {
                    tokio::time::sleep_until(begun + Duration::from_nanos(*at_ns)).await;
                }
                None if closed => std::future::pending().await,
                None => tokio::time::sleep(LINGER).await,
            }
        };
        tokio::select! {
            read = reader.read(&mut buffer) => {
                let Ok(size @ 1..) = read else {
                    return socket;
                };
                theirs.push(buffer.get(..size).unwrap_or_default());
                while let Some(frame) = theirs.next_frame() {
                    socket.received += u64::from(frame.ends_message());
                    let Some(code) = frame.close_code() else {
                        continue;
                    };
                    socket.close_code.get_or_insert(code);
                    if closed {
                        // Both sides have said it. Envoy would keep the connection for another second, to let us end it.
                        return socket;
                    }
                    closed = true;
                    next = None;
                    let close = Frame::close(code).encode(Some([0; 4]));
                    let _ = writer.write_all(&close).await;
                }
            }
            () = due => {
                let Some((_, bytes)) = next else {
                    return socket;
                };
                // Without a word.
                if bytes.is_empty() {
                    return socket;
                }
                if writer.write_all(bytes).await.is_err() {
                    return socket;
                }
                ours.push(bytes);
                while let Some(frame) = ours.next_frame() {
                    socket.sent += u64::from(frame.ends_message());
                    closed |= frame.close_code().is_some();
                }
                next = rest.next();
            }
        }
    }
}
