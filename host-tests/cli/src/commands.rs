//! One file per verb: its arguments, a call into the library, and printing.

pub mod bench;
pub mod build;
pub mod check;
pub mod demo;
mod e2e;
pub mod inspect;
pub mod prove;
pub mod record;
pub mod replay;
pub mod test;
