//! What a filter is to a chain.

use tidegate_policy::{config::Problem, units::WallTime};
use tidegate_proxy::HostError;

use crate::{
    common::{Common, Settings},
    exchange::Exchange,
};

/// Is what came of what the filters wanted written for a request.
pub type Written = Result<(), HostError>;

/// Is a filter as its configuration wants it.
#[derive(Debug)]
pub struct Configured<F> {
    /// Is the filter.
    pub filter: F,
    /// Is what the chain has to know.
    pub settings: Settings,
    /// Names the configuration; see [`tidegate_policy::digest`].
    pub digest: u64,
}

/// Decides about requests and responses: one policy, or several in their order.
///
/// A filter reads through the [`Exchange`], and leaves there what it wants written. It never fails:
/// what the host refuses becomes a reason of its own.
///
/// Scope: one per configuration and VM.
pub trait Filter: Sized + 'static {
    /// Is the name in log lines, as in `tidegate sticky-session`.
    const NAME: &'static str;

    /// Is what a filter remembers of one stream.
    type Stream: Default;

    /// Makes a filter of its configuration, as bytes from the proxy.
    ///
    /// # Errors
    /// All problems.
    fn configure(configuration: &[u8]) -> Result<Configured<Self>, Vec<Problem>>;

    /// Counts a configuration that was refused: no filter is there to do it.
    fn count_rejected_config();

    /// Does what is due, 250 ms or more after the last time; the picture was brought up to date just
    /// before.
    fn tick(&mut self, _common: &Common, _now: WallTime) {}

    /// Counts callbacks that came while another one of the same VM was running, and which were let
    /// through unseen; none is nothing.
    fn count_reentered(&self, callbacks: u32);

    /// Decides about a request. The client's headers under our names are gone.
    fn request(&mut self, common: &mut Common, exchange: &mut Exchange, stream: &mut Self::Stream);

    /// Counts what was decided about a request, once it is written; also where the host refused what
    /// a chain needs before it asks anybody.
    fn requested(
        &mut self,
        common: &mut Common,
        exchange: &Exchange,
        stream: &mut Self::Stream,
        written: Written,
    );

    /// Decides about a response.
    fn response(&mut self, common: &mut Common, exchange: &mut Exchange, stream: &mut Self::Stream);

    /// Says what was decided, for the response header that explains: a text that begins with the
    /// filter's name, or nothing.
    fn explain(&self, stream: &Self::Stream, say: &mut dyn FnMut(&str));

    /// Ends a stream; `is_failed` says that it had no response and the client was not the reason.
    fn end(
        &mut self,
        _common: &mut Common,
        _exchange: &mut Exchange,
        _stream: Self::Stream,
        _is_failed: bool,
    ) {
    }
}
