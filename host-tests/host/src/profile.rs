//! Where the specification of ABI 0.2.1 and Envoy 1.40 differ: here, and nowhere else.
//!
//! Each field is one difference. Host functions ask the rules of the profile; they do not ask which
//! profile it is.

use crate::config::Profile;
use crate::status::Status;

/// How a proxy answers where the specification and Envoy do not agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// A body, network data or message that is not there now reads as empty; else NOT_FOUND.
    pub(crate) missing_buffers_are_empty: bool,
    /// Buffer 8 shows the buffer that was read last, whichever that was; else the arguments of the
    /// foreign function that is being delivered, and nothing outside.
    pub(crate) buffer_8_is_the_last_read: bool,
    /// Reading from behind the end of a buffer gives nothing; else BAD_ARGUMENT.
    pub(crate) reads_behind_the_end_are_empty: bool,
    /// Bytes can be written between the beginning and the end of a buffer; else BAD_ARGUMENT.
    pub(crate) writes_into_the_middle: bool,
    /// The body of a call-out's answer reads as the response body, too.
    pub(crate) call_bodies_are_response_bodies: bool,
    /// All pairs of a map that is not there now are none; else BAD_ARGUMENT.
    pub(crate) missing_maps_are_empty: bool,
    /// What a header of a map answers in the log when there is no such map.
    pub(crate) missing_map_in_log: Status,
    /// The size of a map is that of its names and values; else that of its encoding.
    pub(crate) map_sizes_leave_out_the_encoding: bool,
    /// Headers can be read after their callback let them go; else not until the log.
    pub(crate) headers_stay_readable: bool,
    /// Trailers come to be when a guest writes them while the last bytes pass.
    pub(crate) trailers_can_be_made: bool,
    /// The log of an HTTP stream comes before done; else between done and delete.
    pub(crate) log_comes_before_done: bool,
    /// A call-out that timed out or could not connect has an answer, of the proxy's own; else it has no
    /// headers.
    pub(crate) failed_calls_have_answers: bool,
    /// A gRPC call that succeeds is told by its message alone; else by metadata and close as a stream.
    pub(crate) grpc_calls_end_with_their_message: bool,
    /// A `cas` that is not 0 creates a missing entry; else CAS_MISMATCH.
    pub(crate) cas_creates_entries: bool,
    /// What is recorded on a counter is added; else it takes the counter's place.
    pub(crate) counters_add_what_is_recorded: bool,
    /// A counter can be incremented by 0; else BAD_ARGUMENT.
    pub(crate) counters_take_zero: bool,
}

/// SOURCE: what Envoy 1.40.0 was seen to do.
const ENVOY: Rules = Rules {
    missing_buffers_are_empty: true,
    buffer_8_is_the_last_read: true,
    reads_behind_the_end_are_empty: true,
    writes_into_the_middle: false,
    call_bodies_are_response_bodies: false,
    missing_maps_are_empty: true,
    missing_map_in_log: Status::NotFound,
    map_sizes_leave_out_the_encoding: true,
    headers_stay_readable: false,
    trailers_can_be_made: true,
    log_comes_before_done: true,
    failed_calls_have_answers: true,
    grpc_calls_end_with_their_message: true,
    cas_creates_entries: true,
    counters_add_what_is_recorded: true,
    counters_take_zero: false,
};

/// SOURCE: `abi-versions/v0.2.1/README.md` of the Proxy-Wasm specification.
const SPEC: Rules = Rules {
    missing_buffers_are_empty: false,
    buffer_8_is_the_last_read: false,
    reads_behind_the_end_are_empty: false,
    writes_into_the_middle: true,
    call_bodies_are_response_bodies: true,
    missing_maps_are_empty: false,
    missing_map_in_log: Status::BadArgument,
    map_sizes_leave_out_the_encoding: false,
    headers_stay_readable: true,
    trailers_can_be_made: false,
    log_comes_before_done: false,
    failed_calls_have_answers: false,
    grpc_calls_end_with_their_message: false,
    cas_creates_entries: false,
    counters_add_what_is_recorded: false,
    counters_take_zero: true,
};

impl Rules {
    pub(crate) const fn of(profile: Profile) -> &'static Self {
        match profile {
            Profile::Envoy => &ENVOY,
            Profile::Spec => &SPEC,
        }
    }
}
