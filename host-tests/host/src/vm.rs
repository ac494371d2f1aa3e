//! VMs: stores, their contexts, and calls into them.

pub(crate) mod exports;
pub(crate) mod guest;
pub(crate) mod instance;
pub(crate) mod lifecycle;
pub(crate) mod run;
