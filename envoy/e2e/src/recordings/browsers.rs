//! Three users in three browsers, one of them with two tabs, in the shop of [`page`](super::page).

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::browser::{Chromium, Tab};

/// What a user's browser recorded in one tab.
#[derive(Debug)]
pub struct Har {
    /// The file's name: the user's, with the tab's number where there are several.
    pub name: &'static str,
    /// The HAR, as the developer tools wrote it.
    pub text: String,
}

/// What the browsers recorded.
#[derive(Debug)]
pub struct Recorded {
    /// One HAR per tab.
    pub hars: Vec<Har>,
    /// Product and version of the browser, as `Chrome/156.0.8078.79`.
    pub browser: String,
}

/// Lets the users do what they do, and returns what their developer tools saved.
///
/// # Errors
/// There is no Chromium, or a page finds something other than foreseen.
pub async fn run(edge: SocketAddr) -> Result<Recorded> {
    let shop = format!("http://{edge}/shop");
    let (mut ada, mut ben, mut eve) = (
        Chromium::start().await?,
        Chromium::start().await?,
        Chromium::start().await?,
    );
    // A user who comes by a link that redirects, shops, talks, and opens a second tab that stays.
    let first = ada.tab().await?;
    first.go(&mut ada, &shop).await?;
    shopping(&first, &mut ada, "ada").await?;
    // One who only looks, with a WebSocket that is open until the end.
    let looking = eve.tab().await?;
    looking.go(&mut eve, &format!("{shop}/")).await?;
    chat(&looking, &mut eve, "news", 300).await?;
    // One who loads the page again: part of it comes from the browser's cache.
    let only = ben.tab().await?;
    only.go(&mut ben, &format!("{shop}/")).await?;
    // Long enough for every form that the length of a frame can have.
    chat(&first, &mut ada, "support", 70_000).await?;
    shopping(&only, &mut ben, "ben").await?;
    only.reload(&mut ben).await?;
    let second = ada.tab().await?;
    second.go(&mut ada, &format!("{shop}/")).await?;
    chat(&second, &mut ada, "news", 300).await?;
    hang_up(&first, &mut ada).await?;
    chat(&only, &mut ben, "support", 30).await?;
    hang_up(&only, &mut ben).await?;
    first.go(&mut ada, &format!("{shop}/")).await?;

    let browser = ada.version().to_owned();
    let hars = vec![
        Har {
            name: "ada-1",
            text: first.har(&mut ada).await?,
        },
        Har {
            name: "ada-2",
            text: second.har(&mut ada).await?,
        },
        Har {
            name: "ben",
            text: only.har(&mut ben).await?,
        },
        Har {
            name: "eve",
            text: looking.har(&mut eve).await?,
        },
    ];
    for browser in [ada, ben, eve] {
        browser.close().await?;
    }
    Ok(Recorded { hars, browser })
}

async fn shopping(tab: &Tab, browser: &mut Chromium, user: &str) -> Result<()> {
    let found = tab
        .evaluate(browser, &format!("shopping({})", json!(user)))
        .await?;
    let expected = json!({ "items": 3, "statuses": [404, 500, 200], "left": "AbortError" });
    ensure!(found == expected, "{user} found {found}");
    Ok(())
}

async fn chat(tab: &Tab, browser: &mut Chromium, name: &str, length: usize) -> Result<()> {
    let found = tab
        .evaluate(browser, &format!("chat({}, {length})", json!(name)))
        .await?;
    // Lengths: in UTF-16 code units of a text, in bytes of a binary message.
    ensure!(
        found == json!([5, 15, 4, length, 15]),
        "{name} answered {found}"
    );
    Ok(())
}

async fn hang_up(tab: &Tab, browser: &mut Chromium) -> Result<()> {
    let closed = tab.evaluate(browser, "hangUp()").await?;
    ensure!(closed == json!([1000, true]), "it closed with {closed}");
    Ok(())
}
