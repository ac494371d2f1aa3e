//! What the offline host does beyond HTTP, held against the real Envoy: the same guest writes the same lines in both.

mod grpc;
mod guest;
mod network;
mod versions;
