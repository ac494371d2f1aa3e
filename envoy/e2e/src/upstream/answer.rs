//! What a server can be told to answer.

use std::net::SocketAddr;
use std::time::Duration;

use super::Received;
use crate::clients::http::Client;

/// How an answer ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Ending {
    /// The whole answer, and the connection goes.
    Close,
    /// The connection is closed without any answer.
    CloseBeforeHeaders,
    /// The whole answer.
    #[default]
    Complete,
    /// The connection is reset after the first piece of the body.
    ResetInBody,
    /// The connection is reset without any answer.
    ResetBeforeHeaders,
}

/// One scripted answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body. One piece has a content length; several are sent as chunks.
    pub pieces: Vec<Vec<u8>>,
    /// Trailers; they make the body chunked.
    pub trailers: Vec<(String, String)>,
    /// How long the server thinks before it answers.
    pub delay: Duration,
    /// The pause between two pieces.
    pub pause: Duration,
    /// How it ends.
    pub ending: Ending,
    /// The server that is asked for status and body; the server's own are then nothing.
    pub from: Option<SocketAddr>,
}

impl Answer {
    /// Answers with a status and a text.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
            pieces: vec![body.into()],
            trailers: Vec::new(),
            delay: Duration::ZERO,
            pause: Duration::ZERO,
            ending: Ending::Complete,
            from: None,
        }
    }

    /// Answers as another server answers the same path: 503 where it cannot be asked.
    #[must_use]
    pub fn of(server: SocketAddr) -> Self {
        Self {
            from: Some(server),
            ..Self::new(503, "")
        }
    }

    /// Asks the other server where there is one.
    pub(super) async fn fetched(mut self, received: &Received) -> Self {
        let Some(server) = self.from else {
            return self;
        };
        if let Ok(answer) = Client::new(server).get(&received.path).await {
            self.status = answer.status;
            self.pieces = vec![answer.body.into()];
        }
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answers as the query of the request asks: `status`, `delay_ms`, `chunks`, `chunk_bytes`, `trailer`, `set` (a
    /// cookie of the application's own, `name:value`), `end` (`close`, `close-early`, `reset`, `reset-early`).
    /// The body is the server's address, and so is the header `x-served-by`.
    #[must_use]
    pub fn asked_by(received: &Received) -> Self {
        let own = received.upstream.to_string();
        let mut answer = Self::new(200, own.clone()).header("x-served-by", &own);
        let (_, query) = received.path.split_once('?').unwrap_or_default();
        let (mut chunks, mut chunk_bytes) = (0_usize, 64_usize);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "status" => answer.status = value.parse().unwrap_or(500),
                "delay_ms" => answer.delay = Duration::from_millis(value.parse().unwrap_or(0)),
                "chunks" => chunks = value.parse().unwrap_or(0),
                "chunk_bytes" => chunk_bytes = value.parse().unwrap_or(64),
                "trailer" => answer
                    .trailers
                    .push(("x-checksum".to_owned(), value.to_owned())),
                "set" => {
                    let cookie = value.replacen(':', "=", 1);
                    answer = answer.header("set-cookie", &format!("{cookie}; Path=/"));
                }
                "end" => {
                    answer.ending = match value {
                        "close" => Ending::Close,
                        "close-early" => Ending::CloseBeforeHeaders,
                        "reset" => Ending::ResetInBody,
                        "reset-early" => Ending::ResetBeforeHeaders,
                        _ => Ending::Complete,
                    };
                }
                _ => {}
            }
        }
        if chunks > 0 {
            answer.pieces = (0..chunks).map(|index| piece(index, chunk_bytes)).collect();
        }
        answer
    }
}

/// Returns `size` printable bytes that differ from piece to piece.
fn piece(index: usize, size: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().skip(index % 26).take(size).collect()
}
