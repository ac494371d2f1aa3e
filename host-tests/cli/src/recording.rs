//! The work behind the verb of this name.
