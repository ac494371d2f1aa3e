//! The environment that the proxy gives to the VM.

use crate::{abi, error::HostError};

/// Reads one variable; `None` means that the VM has none of that name.
///
/// # Errors
/// The host has no environment to show, or the value is not UTF-8.
pub fn variable(name: &str) -> Result<Option<String>, HostError> {
    let environment =
        abi::environment().map_err(|status| HostError::from_status("environ_get", status, &[]))?;
    find(&environment, name)
        .map(|value| {
            String::from_utf8(value.to_vec()).map_err(|_| HostError::Malformed {
                function: "environ_get",
            })
        })
        .transpose()
}

/// Finds a value among `NAME=value` entries that a zero byte ends.
fn find<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(name.as_bytes()))
        .find_map(|rest| rest.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn variable_is_found_by_its_whole_name() {
        let environment = b"A=1\0AB=2=3\0EMPTY=\0";
        assert_eq!(find(environment, "AB"), Some(&b"2=3"[..]));
        assert_eq!(find(environment, "A"), Some(&b"1"[..]));
        assert_eq!(find(environment, "EMPTY"), Some(&b""[..]));
        assert_eq!(find(environment, "B"), None);
        assert_eq!(find(b"", "A"), None);
    }
}
