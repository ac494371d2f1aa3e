//! A cookie jar.

/// Keeps the cookies of one site by name, in the order in which they came. Paths, domains and ages are not judged:
/// every client here speaks to one site only, for moments.
#[derive(Clone, Debug, Default)]
pub struct Jar {
    cookies: Vec<(String, String)>,
}

impl Jar {
    /// Takes over a `set-cookie` value.
    pub fn store(&mut self, set_cookie: &str) {
        let pair = set_cookie.split(';').next().unwrap_or_default();
        if let Some((name, value)) = pair.split_once('=') {
            self.set(name.trim(), value.trim());
        }
    }

    /// Sets a cookie.
    pub fn set(&mut self, name: &str, value: &str) {
        if let Some(known) = self.cookies.iter_mut().find(|(known, _)| known == name) {
            value.clone_into(&mut known.1);
        } else {
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Forgets a cookie.
    pub fn remove(&mut self, name: &str) {
        self.cookies.retain(|(known, _)| known != name);
    }

    /// Returns a cookie's value.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.cookies
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the `cookie` header, if there is any cookie.
    #[must_use]
    pub fn header(&self) -> Option<String> {
        if self.cookies.is_empty() {
            return None;
        }
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Some(pairs.join("; "))
    }
}
