//! A real browser: headless Chromium, with its own developer tools looking on.
//!
//! Why: what a browser records is an input of the runner, and nobody writes it as the browser itself does. So each tab gets
//! the tools that a person would open on it, and they are asked for what their "Export HAR (with sensitive data)" saves.
//! Limits: needs Chromium on the machine ([`chromium::find`]); the tools' modules have no stable interface, seen with Chromium 156.

pub mod chromium;
mod devtools;
pub mod tab;

pub use chromium::Chromium;
pub use tab::Tab;
