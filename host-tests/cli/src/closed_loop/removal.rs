//! Native filters that remove request headers, around the plugins of a chain.

use tidegate_host::HeaderMap;

use crate::scenario::LoadedFilter;

/// Names of headers that a chain removes, in lower case. A chain with a removal between two plugins is refused when its
/// scenario is read: the host runs the plugins of a chain one after the other.
#[derive(Debug, Default)]
pub(super) struct Removal {
    /// In front of the plugins.
    front: Vec<String>,
    /// Behind them.
    behind: Vec<String>,
}

impl Removal {
    pub(super) fn of(chain: &[LoadedFilter]) -> Self {
        let mut removal = Self::default();
        let mut names = &mut removal.front;
        for filter in chain {
            match filter {
                LoadedFilter::RemoveHeaders(more) => names.extend(more.iter().cloned()),
                LoadedFilter::Plugin(_) => names = &mut removal.behind,
            }
        }
        removal
    }

    pub(super) fn in_front(&self, headers: &mut HeaderMap) {
        remove(&self.front, headers);
    }

    pub(super) fn behind(&self, headers: &mut HeaderMap) {
        remove(&self.behind, headers);
    }
}

fn remove(names: &[String], headers: &mut HeaderMap) {
    for name in names {
        headers.remove(name);
    }
}
