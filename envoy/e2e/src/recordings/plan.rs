//! The traffic plan: who does what, in which order. The same seed gives the same plan; only times differ between runs.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// One step of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Half an upload, then a reset by the client.
    AbortUpload,
    /// A request whose client resets the connection instead of waiting for the answer.
    AbortWait,
    /// The connection is closed; the next request opens another.
    Disconnect,
    /// One request.
    Request {
        /// The method.
        method: &'static str,
        /// Path and query.
        path: String,
        /// The body: none, whole, or in pieces with a trailer.
        body: Upload,
    },
    /// The client pauses.
    Think(Duration),
    /// A WebSocket with this script, spoken by the Rust client.
    WebSocket(Live),
    /// A WebSocket with this script, spoken by the Python client.
    WebSocketPython(Live),
}

/// The body of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Upload {
    /// Pieces of this size, chunked, followed by a trailer.
    Chunked(Vec<usize>),
    /// None.
    None,
    /// This many bytes of JSON.
    Whole(usize),
}

/// What happens on a WebSocket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Live {
    /// Rounds of messages: a text, a fragmented text, a binary message, a ping; and from the endpoint a ping and a
    /// fragmented text.
    pub rounds: u32,
    /// How it ends.
    pub end: LiveEnd,
}

/// How a WebSocket ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LiveEnd {
    /// The client closes with 1000.
    Client,
    /// The client resets the connection.
    ClientReset,
    /// The endpoint closes with 1012 (Rust client only).
    Endpoint,
    /// The endpoint resets the connection (Rust client only).
    EndpointReset,
}

/// One session: a client with its address, its jar and its steps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session {
    /// The client's number, from 0.
    pub number: u32,
    /// The address it connects from.
    pub address: IpAddr,
    /// Its user agent.
    pub user_agent: &'static str,
    /// Whether it keeps cookies.
    pub keeps_cookies: bool,
    /// What it does.
    pub steps: Vec<Step>,
}

const BROWSERS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "ShopApp/3.2 (Android 16)",
];

/// Plans `sessions` sessions with about `requests` plain requests each.
#[must_use]
pub fn plan(seed: u64, sessions: u32, requests: u32) -> Vec<Session> {
    let mut draws = Draws(seed);
    (0..sessions)
        .map(|number| session(number, requests, &mut draws))
        .collect()
}

fn session(number: u32, requests: u32, draws: &mut Draws) -> Session {
    // Two sessions behind one address here and there, as behind a home router.
    let host = 11 + u8::try_from(number - u32::from(number % 8 == 7)).unwrap_or(200);
    let api_client = number % 6 == 5;
    let mut steps = vec![request("GET", "/")];
    if !api_client {
        steps.extend([request("GET", "/assets/app.js"), request("POST", "/login")]);
    }
    for _ in 0..requests {
        steps.push(any_request(draws));
        match draws.below(12) {
            0 => steps.push(Step::Disconnect),
            1..=4 => steps.push(Step::Think(Duration::from_millis(draws.below(9) + 1))),
            _ => {}
        }
    }
    // What is rare in traffic and must not be missing in a recording: each by some of the sessions.
    let live = |rounds, end| Live { rounds, end };
    match number % 8 {
        0 => steps.push(Step::WebSocket(live(3, LiveEnd::Client))),
        1 => steps.push(Step::WebSocketPython(live(2, LiveEnd::Client))),
        2 => steps.push(Step::WebSocket(live(2, LiveEnd::Endpoint))),
        3 => steps.extend([request("GET", "/api/crash/1"), Step::AbortUpload]),
        4 => steps.push(Step::WebSocket(live(1, LiveEnd::EndpointReset))),
        5 => steps.extend([Step::AbortWait, request("GET", "/downloads/7")]),
        6 => steps.push(Step::WebSocketPython(live(1, LiveEnd::ClientReset))),
        _ => steps.push(Step::WebSocket(live(1, LiveEnd::ClientReset))),
    }
    // A session goes on after its WebSocket, and after an accident.
    steps.extend([request("GET", "/api/items/1"), request("GET", "/goodbye")]);
    let agent = if api_client {
        "shop-sync/1.4"
    } else {
        BROWSERS
            .get(number as usize % 3)
            .copied()
            .unwrap_or_default()
    };
    Session {
        number,
        address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)),
        user_agent: agent,
        keeps_cookies: !api_client,
        steps,
    }
}

fn any_request(draws: &mut Draws) -> Step {
    let number = draws.below(40);
    let (method, path, body) = match draws.below(20) {
        0..=6 => ("GET", format!("/api/items/{number}"), Upload::None),
        7 => ("HEAD", format!("/api/items/{number}"), Upload::None),
        8 => ("HEAD", "/".to_owned(), Upload::None),
        9 => (
            "GET",
            format!("/api/items/{number}?fields=price_cents&currency=EUR"),
            Upload::None,
        ),
        10 => (
            "POST",
            "/api/cart".to_owned(),
            Upload::Whole(40 + usize::try_from(number).unwrap_or(0)),
        ),
        11 => (
            "POST",
            "/api/cart".to_owned(),
            Upload::Chunked(vec![30, 70, 20]),
        ),
        12 => ("PUT", format!("/api/cart/{number}"), Upload::Whole(60)),
        13 => ("DELETE", format!("/api/cart/{number}"), Upload::None),
        14 => ("GET", format!("/api/reports/{number}"), Upload::None),
        15 => ("GET", format!("/api/slow/{number}"), Upload::None),
        16 | 17 => ("GET", format!("/api/flaky/{number}"), Upload::None),
        18 => ("GET", "/assets/style.css".to_owned(), Upload::None),
        _ => ("GET", format!("/missing/{number}"), Upload::None),
    };
    Step::Request { method, path, body }
}

fn request(method: &'static str, path: &str) -> Step {
    let body = if method == "POST" {
        Upload::Whole(48)
    } else {
        Upload::None
    };
    Step::Request {
        method,
        path: path.to_owned(),
        body,
    }
}

/// A small generator (SplitMix64): the plan must not depend on a library's version.
struct Draws(u64);

impl Draws {
    /// Returns a number below `bound`; the bias is far below what a traffic plan could notice.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
