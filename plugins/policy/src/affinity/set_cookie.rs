//! Writes the `set-cookie` header.

use alloc::string::String;
use core::{fmt::Write as _, time::Duration};

use serde::Deserialize;

/// Says on which requests from other sites a browser sends the cookie.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(expecting = "a string", rename_all = "snake_case")]
pub enum SameSite {
    /// Writes `SameSite=Lax`: with navigation from elsewhere, not with embedded requests.
    #[default]
    Lax,
    /// Writes `SameSite=None`: always. Browsers then insist on `Secure`.
    None,
    /// Writes nothing: the browser's own rule holds.
    Omitted,
    /// Writes `SameSite=Strict`: never from elsewhere.
    Strict,
}

/// Says when the cookie is marked `Secure`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(expecting = "a string", rename_all = "snake_case")]
pub enum Secure {
    /// Always.
    Always,
    /// When the request's `:scheme` is `https`.
    #[default]
    Auto,
    /// Never.
    Never,
}

impl SameSite {
    /// Is the name in the configuration.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "lax",
            Self::None => "none",
            Self::Omitted => "omitted",
            Self::Strict => "strict",
        }
    }
}

impl Secure {
    /// Is the name in the configuration.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Auto => "auto",
            Self::Never => "never",
        }
    }

    /// Resolves the setting for a request that came over `https` or not.
    #[must_use]
    pub const fn applies(self, https: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Auto => https,
            Self::Never => false,
        }
    }
}

/// Is what stands behind the cookie's value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CookieAttributes {
    pub(super) path: String,
    pub(super) http_only: bool,
    pub(super) same_site: SameSite,
    pub(super) secure: Secure,
}

impl CookieAttributes {
    /// Writes the header's value. `remaining` is rounded down to whole seconds.
    #[must_use]
    pub fn write(&self, name: &str, value: &str, remaining: Duration, https: bool) -> String {
        let length = name
            .len()
            .saturating_add(value.len())
            .saturating_add(self.path.len());
        // 72 bytes hold every attribute with the largest number.
        let mut text = String::with_capacity(length.saturating_add(72));
        text.push_str(name);
        text.push('=');
        text.push_str(value);
        text.push_str("; Path=");
        text.push_str(&self.path);
        // Writing into a string does not fail.
        let _ = write!(text, "; Max-Age={}", remaining.as_secs());
        if self.http_only {
            text.push_str("; HttpOnly");
        }
        text.push_str(match self.same_site {
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
            SameSite::Omitted => "",
            SameSite::Strict => "; SameSite=Strict",
        });
        if self.secure.applies(https) {
            text.push_str("; Secure");
        }
        text
    }
}
