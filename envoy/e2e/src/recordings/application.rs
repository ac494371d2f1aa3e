//! The web shop behind the recordings: what its endpoints answer. The same request always gets the same answer.

use std::time::Duration;

use crate::upstream::{Answer, Ending, Received};

/// Answers one request of the shop.
#[must_use]
pub fn answer(received: &Received) -> Answer {
    let own = received.upstream.to_string();
    let path = received.path.split('?').next().unwrap_or_default();
    let (folder, last) = path.rsplit_once('/').unwrap_or_default();
    let number: u64 = last.parse().unwrap_or(0);
    let answer = match (received.method.as_str(), folder, last) {
        ("GET" | "HEAD", "", "") => html("<!doctype html><title>Shop</title><h1>Welcome</h1>"),
        ("GET", "/assets", _) => Answer {
            pieces: (0..3)
                .map(|part| {
                    format!("/* {last}, part {part} */\n")
                        .repeat(8)
                        .into_bytes()
                })
                .collect(),
            ..Answer::new(200, "").header("cache-control", "max-age=3600")
        },
        // A second cookie with attributes of its own, so that a recording has answers with several.
        ("POST", "", "login") => {
            let user = received.header("x-user").unwrap_or("guest");
            json(303, "{}")
                .header("location", "/")
                .header(
                    "set-cookie",
                    &format!("shop-session={user}-4f1d; Path=/; HttpOnly; SameSite=Lax"),
                )
                .header("set-cookie", "shop-theme=dark; Path=/; Max-Age=31536000")
        }
        ("GET" | "HEAD", "/api/items", _) => json(
            200,
            &format!(
                "{{\"id\":{number},\"price_cents\":{},\"in_stock\":true}}",
                199 + 37 * number
            ),
        )
        .header("etag", &format!("\"item-{number}\"")),
        ("POST", "/api", "cart") => {
            let cart = received
                .header("content-length")
                .unwrap_or("chunked")
                .to_owned();
            json(
                201,
                &format!("{{\"received_bytes\":{}}}", received.body_bytes),
            )
            .header("set-cookie", &format!("shop-cart={cart}; Path=/"))
        }
        ("PUT" | "PATCH", "/api/cart", _) => json(200, &format!("{{\"item\":{number}}}")),
        ("DELETE", "/api/cart", _) => Answer {
            pieces: Vec::new(),
            ..Answer::new(204, "")
        },
        ("GET", "/api/reports", _) => Answer {
            pieces: (0..4)
                .map(|row| format!("{row},{}\n", number * 10 + row).into_bytes())
                .collect(),
            trailers: vec![("x-row-count".to_owned(), "4".to_owned())],
            pause: Duration::from_millis(2),
            ..Answer::new(200, "").header("trailer", "x-row-count")
        },
        ("GET", "/api/slow", _) => Answer {
            delay: Duration::from_millis(20 + number),
            ..json(200, "{\"slow\":true}")
        },
        ("GET", "/api/stuck", _) => Answer {
            delay: Duration::from_secs(30),
            ..json(200, "{}")
        },
        ("GET", "/api/flaky", _) => match number % 4 {
            0 => json(503, "{\"error\":\"overloaded\"}").header("retry-after", "1"),
            1 => json(500, "{\"error\":\"internal\"}"),
            2 => json(502, "{\"error\":\"bad gateway\"}"),
            _ => json(200, "{}"),
        },
        ("GET", "/api/crash", _) => Answer {
            ending: if number.is_multiple_of(2) {
                Ending::ResetBeforeHeaders
            } else {
                Ending::CloseBeforeHeaders
            },
            ..json(200, "{}")
        },
        ("GET", "/downloads", _) => Answer {
            pieces: vec![vec![0xff; 96], vec![0x00; 96]],
            ending: Ending::ResetInBody,
            pause: Duration::from_millis(2),
            ..Answer::new(200, "").header("content-type", "application/octet-stream")
        },
        ("GET", "", "goodbye") => Answer {
            ending: Ending::Close,
            ..html("<p>Goodbye</p>")
        },
        ("GET", "/ws", _) => Answer::new(101, ""),
        _ => json(404, "{\"error\":\"not found\"}"),
    };
    answer.header("x-served-by", &own)
}

fn html(body: &str) -> Answer {
    typed(200, "text/html; charset=utf-8", body)
}

fn json(status: u16, body: &str) -> Answer {
    typed(status, "application/json", body)
}

fn typed(status: u16, kind: &str, body: &str) -> Answer {
    let mut answer = Answer::new(status, body);
    answer.headers = vec![("content-type".to_owned(), kind.to_owned())];
    answer
}
