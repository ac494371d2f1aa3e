//! The filters as separate modules and as one: the same decisions, request by request.
//!
//! Both forms get the same random numbers: a VM's depend on how many VMs there were before it. So where two modules stand
//! in one form, in front of the stack stands a sticky-session for a cluster that nobody asks for, and the lists that health
//! routing draws are the same, byte by byte. Sessions are begun in another VM then: of their cookies all is compared but the
//! value, which is sealed with numbers of that VM.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

mod stack_parity {
    pub(crate) mod forms;
    pub(crate) mod gateway;

    mod cost;
    mod recordings;
    mod requests;
    mod scenarios;
}
