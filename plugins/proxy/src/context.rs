//! What a plugin implements.

use tidegate_policy::config::Problem;

use crate::{abi, error::HostError};

/// Says how the host goes on after a callback.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Action {
    /// On to the next filter.
    Continue = 0,
    /// Not before [`StreamId::resume_request`] or `resume_response`. Never on the body of an
    /// upgraded stream: it can break the handshake.
    Pause = 1,
}

/// Is the id of a stream, unique within a VM.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub u32);

impl StreamId {
    /// Makes the calls that follow act on this stream: from a tick or a call-out's response.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn make_current(self) -> Result<(), HostError> {
        let gone = [abi::Status::BAD_ARGUMENT, abi::Status::NOT_FOUND];
        abi::set_effective_context(self.0)
            .map_err(|status| HostError::from_status("proxy_set_effective_context", status, &gone))
    }

    /// Lets the paused request of this stream go on.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn resume_request(self) -> Result<(), HostError> {
        self.make_current()?;
        continue_stream(0)
    }

    /// Lets the paused response of this stream go on.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn resume_response(self) -> Result<(), HostError> {
        self.make_current()?;
        continue_stream(1)
    }

    /// Cuts the stream without a goodbye.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn cut(self) -> Result<(), HostError> {
        self.make_current()?;
        abi::close_stream(1)
            .map_err(|status| HostError::from_status("proxy_close_stream", status, &[]))
    }
}

fn continue_stream(direction: u32) -> Result<(), HostError> {
    abi::continue_stream(direction)
        .map_err(|status| HostError::from_status("proxy_continue_stream", status, &[]))
}

/// Announces headers.
#[derive(Clone, Copy, Debug)]
pub struct HeadersEvent {
    /// Is how many there are.
    pub count: usize,
    /// Says that nothing follows.
    pub end_of_stream: bool,
}

/// Announces a piece of a body.
#[derive(Clone, Copy, Debug)]
pub struct BodyEvent {
    /// Is how many bytes can be read, those that were held back included.
    pub size: usize,
    /// Says that nothing follows.
    pub end_of_stream: bool,
}

/// Announces trailers.
#[derive(Clone, Copy, Debug)]
pub struct TrailersEvent {
    /// Is how many there are.
    pub count: usize,
}

/// Announces the answer to a call-out. A time-out comes as a 504 of the proxy and a connection that
/// failed as a 503; no headers at all means that the call was reset.
#[derive(Clone, Copy, Debug)]
pub struct CallResponse {
    /// Is what [`crate::call::dispatch`] gave.
    pub call: crate::call::CallId,
    /// Is how many headers there are.
    pub headers: usize,
    /// Is how many bytes the body has.
    pub body_size: usize,
    /// Is how many trailers there are.
    pub trailers: usize,
}

/// Is a plugin's state in one VM: one for each configuration that runs in it.
///
/// Scope: per worker VM, and one more on the main thread, which never sees a stream.
pub trait Plugin: Sized + 'static {
    /// Is the plugin's name in its first log line.
    const NAME: &'static str;
    /// Is the plugin's version.
    const VERSION: &'static str;
    /// Is the state of a stream.
    type Stream: Stream<Self>;

    /// Makes a plugin of its configuration, as bytes from the proxy; see
    /// [`crate::configuration::text`]. [`crate::buffer::vm_configuration`] has the VM's.
    ///
    /// # Errors All problems. They are logged; the first configuration of a VM is then refused, a
    /// later one is dropped and the plugin goes on as it was.
    fn configure(configuration: &[u8]) -> Result<Self, Vec<Problem>>;

    /// Names the configuration in the first log line; see [`tidegate_policy::digest`].
    fn digest(&self) -> u64;

    /// Begins a stream.
    fn open_stream(&mut self, id: StreamId) -> Self::Stream;

    /// Comes every period set by [`clock::set_tick_period`](crate::clock::set_tick_period).
    fn tick(&mut self) {}

    /// Brings the answer to a call-out, on the plugin's own context.
    fn call_response(&mut self, _response: CallResponse) {}

    /// Says that a queue which this plugin registered last has something.
    fn queue_ready(&mut self, _queue: u32) {}

    /// Counts a callback that came while another one was running in this VM, and which was
    /// therefore answered "go on" without being looked at. Must not call out.
    fn reentered() {}
}

/// Is the state of one stream. Only the callbacks that [`main!`](crate::main!) lists are called.
pub trait Stream<P: Plugin> {
    /// Is called when the request's headers are there; they are unreadable afterwards.
    fn request_headers(&mut self, _plugin: &mut P, _event: HeadersEvent) -> Action {
        Action::Continue
    }

    /// Is called for each piece of the request's body.
    fn request_body(&mut self, _plugin: &mut P, _event: BodyEvent) -> Action {
        Action::Continue
    }

    /// Is called when the request's trailers are there.
    fn request_trailers(&mut self, _plugin: &mut P, _event: TrailersEvent) -> Action {
        Action::Continue
    }

    /// Is called when the response's headers are there, the 101 of an upgrade included.
    fn response_headers(&mut self, _plugin: &mut P, _event: HeadersEvent) -> Action {
        Action::Continue
    }

    /// Is called for each piece of the response's body.
    fn response_body(&mut self, _plugin: &mut P, _event: BodyEvent) -> Action {
        Action::Continue
    }

    /// Is called when the response's trailers are there.
    fn response_trailers(&mut self, _plugin: &mut P, _event: TrailersEvent) -> Action {
        Action::Continue
    }

    /// Is called at the end, when everything about the stream is known. A filter behind the router
    /// gets no such call.
    fn log(&mut self, _plugin: &mut P) {}

    /// Is called last of all, also for a stream that was cut or never answered, and behind the router
    /// too. Whatever the stream still knows of the proxy can be asked for.
    fn end(&mut self, _plugin: &mut P) {}

    /// Is called in place of [`Self::end`] for a stream that ended while another callback of its VM
    /// was running, after that one. The proxy knows the stream no more: it cannot be asked about it.
    fn lost(&mut self, _plugin: &mut P) {}
}
