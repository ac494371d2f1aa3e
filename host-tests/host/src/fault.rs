//! Host calls that fail because a test says so.

use crate::host::HostFunction;
use crate::status::Status;

/// Calls of a host function that fail: nothing is done, and the guest gets a status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostFault {
    /// The function, such as `proxy_get_shared_data`; one of [`HostFault::functions`].
    pub function: String,
    /// The plugin whose calls fail; `None`: every plugin's.
    pub plugin: Option<String>,
    /// Which of the calls between the two times fails, counted from 1 over all VMs; `None`: each.
    pub nth: Option<u64>,
    /// When calls begin to fail, in nanoseconds since the Unix epoch.
    pub from_ns: u64,
    /// When they stop; `None`: never.
    pub until_ns: Option<u64>,
    /// What the guest gets.
    pub status: Status,
}

impl HostFault {
    /// Names of the functions that can fail: those that answer with a status.
    pub fn functions() -> impl Iterator<Item = &'static str> {
        HostFunction::NAMES
            .iter()
            .copied()
            .filter(|name| name.starts_with("proxy_"))
    }
}

/// A fault with its count.
#[derive(Debug)]
pub(crate) struct Fault {
    function: HostFunction,
    seen: u64,
    of: HostFault,
}

impl Fault {
    /// `None`: there is no such function.
    pub(crate) fn new(of: HostFault) -> Option<Self> {
        let function = HostFault::functions()
            .find(|name| **name == of.function)
            .and_then(HostFunction::named)?;
        Some(Self {
            function,
            seen: 0,
            of,
        })
    }

    /// A call is made: what it answers, if it fails.
    pub(crate) fn meets(
        &mut self,
        function: HostFunction,
        plugin: &str,
        now_ns: u64,
    ) -> Option<Status> {
        let of = &self.of;
        let is_meant = self.function == function
            && of.plugin.as_deref().is_none_or(|name| name == plugin)
            && of.from_ns <= now_ns
            && of.until_ns.is_none_or(|until_ns| now_ns < until_ns);
        if !is_meant {
            return None;
        }
        self.seen = self.seen.saturating_add(1);
        of.nth
            .is_none_or(|nth| nth == self.seen)
            .then_some(of.status)
    }
}
