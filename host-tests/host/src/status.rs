//! Statuses of host functions.

/// What a host function answers. The discriminants are the ABI's.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(i32)]
#[non_exhaustive]
pub enum Status {
    /// Done.
    Ok = 0,
    /// There is no such thing.
    NotFound = 1,
    /// An argument makes no sense, or the thing is not available now.
    BadArgument = 2,
    /// The value has no encoding.
    SerializationFailure = 3,
    /// The bytes do not parse.
    ParseFailure = 4,
    /// A pointer is outside the guest's memory, or the guest could not allocate.
    InvalidMemoryAccess = 6,
    /// The queue is empty.
    Empty = 7,
    /// Somebody else wrote since.
    CasMismatch = 8,
    /// The host could not do it.
    InternalFailure = 10,
    /// The host does not do this.
    Unimplemented = 12,
}

impl Status {
    /// The number that the guest sees.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self as i32
    }
}
