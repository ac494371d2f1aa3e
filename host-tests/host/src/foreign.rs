//! Foreign functions that a driver adds.

use std::fmt;

use crate::status::Status;

type Function = Box<dyn FnMut(&[u8]) -> Result<Vec<u8>, Status> + Send>;

/// A function that guests call by name with `proxy_call_foreign_function`.
pub(crate) struct ForeignFunction(pub(crate) Function);

impl fmt::Debug for ForeignFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignFunction")
    }
}
