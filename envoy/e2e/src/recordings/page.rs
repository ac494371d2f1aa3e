//! The shop as a browser sees it: a page with a script, a style and a picture in front of [`application`](super::application).

use crate::upstream::{Answer, Received};

/// Answers one request of a browser.
#[must_use]
pub fn answer(received: &Received) -> Answer {
    let file = match received.path.as_str() {
        "/shop" => {
            return Answer {
                pieces: Vec::new(),
                ..Answer::new(302, "").header("location", "/shop/")
            };
        }
        "/shop/" => page(
            "text/html; charset=utf-8",
            include_str!("../../browser/index.html"),
        )
        .header("cache-control", "no-store"),
        // These two come from the browser's cache the second time.
        "/shop/shop.js" => page("text/javascript", include_str!("../../browser/shop.js"))
            .header("cache-control", "max-age=3600"),
        "/shop/logo.svg" => page("image/svg+xml", include_str!("../../browser/logo.svg"))
            .header("cache-control", "max-age=3600"),
        // For this one the browser asks whether it has changed.
        "/shop/style.css" if received.header("if-none-match").is_some() => Answer {
            pieces: Vec::new(),
            ..Answer::new(304, "").header("etag", STYLE)
        },
        "/shop/style.css" => page("text/css", include_str!("../../browser/style.css"))
            .header("cache-control", "no-cache")
            .header("etag", STYLE),
        _ => return super::application::answer(received),
    };
    file.header("x-served-by", &received.upstream.to_string())
}

const STYLE: &str = "\"style-1\"";

fn page(kind: &str, text: &str) -> Answer {
    let mut answer = Answer::new(200, text);
    answer.headers = vec![("content-type".to_owned(), kind.to_owned())];
    answer
}
