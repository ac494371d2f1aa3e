//! A tab, and the developer tools that are open on it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Chromium;
use super::devtools::Devtools;
use crate::wait;

/// Says whether the tools are connected to their tab, and makes them keep what was before a navigation, as the box
/// "Preserve log" does.
const TOOLS_READY: &str = r#"(async () => {
    const sdk = await import("./core/sdk/sdk.js");
    const common = await import("./core/common/common.js");
    const target = sdk.TargetManager.TargetManager.instance().primaryPageTarget();
    if (!target?.model(sdk.NetworkManager.NetworkManager)) return false;
    common.Settings.Settings.instance().moduleSetting("network-log.preserve-log").set(true);
    return true;
})()"#;

/// Makes the tools write what they save as a HAR with content and with sensitive data.
const EXPORT: &str = r#"(async () => {
    const logs = await import("./models/logs/logs.js");
    const har = await import("./models/har/har.js");
    const common = await import("./core/common/common.js");
    let text = "";
    const stream = { write: async piece => { text += piece; }, close: async () => {} };
    const requests = logs.NetworkLog.NetworkLog.instance().requests();
    await har.Writer.Writer.write(stream, requests, { sanitize: false }, new common.Progress.Progress());
    return text;
})()"#;

/// A tab with its developer tools.
#[derive(Debug)]
pub struct Tab {
    session: String,
    tools: String,
}

impl Tab {
    pub(super) async fn open(devtools: &mut Devtools, port: u16) -> Result<Self> {
        let (target, session) = devtools.open("about:blank").await?;
        let address = format!("127.0.0.1:{port}/devtools/page/{target}");
        let tools = format!("devtools://devtools/bundled/devtools_app.html?ws={address}");
        let (_, tools) = devtools.open(&tools).await?;
        wait::until("the developer tools are connected", async || {
            // Until the tools' page is there, its modules can't be loaded.
            let ready = devtools.evaluate(&tools, TOOLS_READY).await;
            Ok(ready.is_ok_and(|ready| ready == true).then_some(()))
        })
        .await?;
        Ok(Self { session, tools })
    }

    /// Goes to a page and waits until it has loaded.
    ///
    /// # Errors
    /// The page cannot be reached or does not load in time.
    pub async fn go(&self, chromium: &mut Chromium, url: &str) -> Result<()> {
        let devtools = chromium.devtools();
        let gone = devtools
            .call(Some(&self.session), "Page.navigate", json!({ "url": url }))
            .await?;
        ensure!(
            gone.get("errorText").is_none(),
            "cannot go to {url}: {gone}"
        );
        self.loaded(devtools, url).await
    }

    /// Loads the page again, as the key F5 does, and waits until it has loaded.
    ///
    /// # Errors
    /// The page does not load in time.
    pub async fn reload(&self, chromium: &mut Chromium) -> Result<()> {
        let devtools = chromium.devtools();
        // The page that is there must not be taken for the page to come.
        devtools
            .evaluate(&self.session, "window.old = true")
            .await?;
        devtools
            .call(Some(&self.session), "Page.reload", json!({}))
            .await?;
        self.loaded(devtools, "the page again").await
    }

    /// Evaluates an expression in the page, waits for its promise, and returns the value.
    ///
    /// # Errors
    /// It throws, or takes too long.
    pub async fn evaluate(&self, chromium: &mut Chromium, expression: &str) -> Result<Value> {
        chromium
            .devtools()
            .evaluate(&self.session, expression)
            .await
    }

    /// Returns the HAR that the developer tools save.
    ///
    /// # Errors
    /// They fail.
    pub async fn har(&self, chromium: &mut Chromium) -> Result<String> {
        let text = chromium.devtools().evaluate(&self.tools, EXPORT).await?;
        Ok(text.as_str().context("no text")?.to_owned())
    }

    async fn loaded(&self, devtools: &mut Devtools, what: &str) -> Result<()> {
        const LOADED: &str =
            "document.readyState === 'complete' && location.href !== 'about:blank' && !window.old";
        wait::until(format!("Chromium loads {what}"), async || {
            // Between two pages there is nothing to evaluate in.
            let loaded = devtools.evaluate(&self.session, LOADED).await;
            Ok(loaded.is_ok_and(|loaded| loaded == true).then_some(()))
        })
        .await
    }
}
