//! VMs: stores, their contexts, and calls into them.

pub(crate) mod exports;
pub(crate) mod guest;
pub(crate) mod instance;
pub(crate) mod lifecycle;
mod reload;
pub(crate) mod run;
