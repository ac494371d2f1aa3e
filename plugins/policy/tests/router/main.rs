//! What the router of one cluster decides, and what it learns from answers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "the numbers are small, and endpoints are named by their index"
)]

mod answers;
mod cluster;
mod matrix;
mod model;
mod requests;
mod routers;
